// The names that others give to the weights of our models.
#include <string>

#include "tidemark/io.h"

namespace tidemark {

NameTable gpt2_names() {
  NameTable names;
  // Files of the bare model have no "transformer." before their names.
  for (const std::string start : {"transformer.", ""}) {
    const auto add = [&](const std::string& file, const std::string& module, bool transpose = false) {
      names.renames.push_back({start + file, module, transpose});
    };
    add("wte.weight", "tokens.weight");
    add("wpe.weight", "positions.weight");
    for (const std::string part : {"weight", "bias"}) {
      const bool matrix = part == "weight";
      add("h.*.ln_1." + part, "blocks.*.norm1." + part);
      add("h.*.attn.c_attn." + part, "blocks.*.qkv." + part, matrix);
      add("h.*.attn.c_proj." + part, "blocks.*.projection." + part, matrix);
      add("h.*.ln_2." + part, "blocks.*.norm2." + part);
      add("h.*.mlp.c_fc." + part, "blocks.*.up." + part, matrix);
      add("h.*.mlp.c_proj." + part, "blocks.*.down." + part, matrix);
      add("ln_f." + part, "norm." + part);
    }
  }
  // The weights of the output are the table's.
  names.renames.push_back({"lm_head.weight", "tokens.weight"});
  names.ignored = {"*h.*.attn.bias", "*h.*.attn.masked_bias"};
  return names;
}

NameTable vgg16_names(bool batch_norm, bool dropout) {
  constexpr int kPlain = 31;      // convolutions, ReLU and poolings; Flatten follows
  constexpr int kBatchNorm = 44;  // with 13 of these among them
  const int flatten = batch_norm ? kBatchNorm : kPlain;
  NameTable names;
  for (int i = 0; i < 3; ++i) {
    const int stride = dropout ? 3 : 2;  // linear, ReLU, dropout
    for (const std::string part : {".weight", ".bias"}) {
      names.renames.push_back(
          {"classifier." + std::to_string(3 * i) + part, std::to_string(flatten + 1 + stride * i) + part});
    }
  }
  names.renames.push_back({"features.*", "*"});
  return names;
}

}  // namespace tidemark
