#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Embedding) {
  check_family("embedding", {{"rows", [](const Inputs& in) { return embedding(in[1], in[0]); }}});
}

TEST(Golden, EmbeddingOptions) {
  check_family("embedding_options",
               {{"padding", [](const Inputs& in) { return embedding(in[1], in[0], {.padding = 2}); }},
                {"padding_from_end", [](const Inputs& in) { return embedding(in[1], in[0], {.padding = -1}); }}});
}

TEST(Golden, EmbeddingBag) {
  using Mode = EmbeddingBagOptions::Mode;
  std::map<std::string, Function> functions;
  const std::pair<const char*, Mode> kModes[] = {{"sum", Mode::kSum}, {"mean", Mode::kMean}, {"max", Mode::kMax}};
  for (const auto& [name, mode] : kModes) {
    const auto add = [&](const std::string& label, const EmbeddingBagOptions& options) {
      functions[name + label] = [options](const Inputs& in) {
        return embedding_bag(in[1], in[0], in.size() > 2 ? in[2] : Tensor(), options);
      };
    };
    add("_rows", {.mode = mode});
    add("_offsets", {.mode = mode});
    add("_padding", {.mode = mode, .padding = 2});
    add("_padding_rows", {.mode = mode, .padding = -6});
  }
  functions["mean_include_last"] = [](const Inputs& in) {
    return embedding_bag(in[1], in[0], in[2], {.include_last_offset = true});
  };
  functions["weights_rows"] = [](const Inputs& in) {
    return embedding_bag(in[2], in[0], {}, {.mode = Mode::kSum, .per_sample_weights = in[1]});
  };
  functions["weights_offsets"] = [](const Inputs& in) {
    return embedding_bag(in[2], in[0], in[3], {.mode = Mode::kSum, .padding = 3, .per_sample_weights = in[1]});
  };
  check_family("embedding_bag", functions);
}

}  // namespace
}  // namespace tidemark::test
