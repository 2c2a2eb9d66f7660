// Logits of a model whose weights have the names that others give them, for foreign_weights.py:
//   foreign_weights gpt2|vgg16|vgg16-bn WEIGHTS INPUT.npy LOGITS.npy BACK.safetensors
// The sizes follow from the weights; what was loaded is saved again under the same names.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "tidemark/tidemark.h"

namespace td = tidemark;

namespace {

// Row-major elements of the only tensor of a .npy file.
template <class T>
std::vector<T> elements(const td::TensorFile& file) {
  const td::FileTensor& tensor = file.tensors().front();
  std::vector<T> all(static_cast<std::size_t>(tensor.elements));
  file.read(tensor, 0, tensor.elements, all.data());
  return all;
}

void write_logits(const std::string& path, const td::Tensor& logits) {
  const std::vector<float> all = logits.to_vector();
  const auto dims = logits.shape().dims();
  td::write_tensors(path,
                    {{"logits", td::StoredType::kF32, {dims.begin(), dims.end()}, [&](const td::AppendBytes& append) {
                        append(all.data(), std::ssize(all) * 4);
                      }}});
}

void gpt2(char** words) {
  const td::TensorFile weights(words[0]);
  const std::string start = weights.find("transformer.wte.weight") != nullptr ? "transformer." : "";
  const auto& table = weights.find(start + "wte.weight")->shape;
  int layers = 0;
  while (weights.find(start + "h." + std::to_string(layers) + ".ln_1.weight") != nullptr) ++layers;
  const td::TensorFile input(words[1]);
  const auto& shape = input.tensors().front().shape;
  td::Session session;
  td::nn::Gpt model({.layers = layers,
                     .width = table[1],
                     .heads = static_cast<int>(table[1] / 64),
                     .context = weights.find(start + "wpe.weight")->shape[0],
                     .vocabulary = table[0]});
  td::load(model, words[0], {.names = td::gpt2_names()});
  td::nn::eval(model);
  const td::NoGrad no_grad;
  write_logits(words[2], model(td::tensor(elements<std::int32_t>(input), {shape[0], shape[1]})));
  td::save(model, words[3], {.names = td::gpt2_names()});
}

void vgg16(char** words, bool batch_norm) {
  const td::TensorFile weights(words[0]);
  const td::TensorFile input(words[1]);
  const auto& shape = input.tensors().front().shape;
  td::Session session;
  td::nn::Sequential model = td::nn::vgg16({.classes = weights.find("classifier.6.weight")->shape[0],
                                            .width = weights.find("features.0.weight")->shape[0],
                                            .batch_norm = batch_norm});
  const td::NameTable names = td::vgg16_names(batch_norm);
  td::load(model, words[0], {.names = names});
  td::nn::eval(model);
  const td::NoGrad no_grad;
  write_logits(words[2], model(td::tensor(elements<float>(input), {shape[0], shape[1], shape[2], shape[3]})));
  td::save(model, words[3], {.names = names});
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string model = argc == 6 ? argv[1] : "";
  if (model == "gpt2") {
    gpt2(argv + 2);
  } else if (model == "vgg16" || model == "vgg16-bn") {
    vgg16(argv + 2, model == "vgg16-bn");
  } else {
    std::fputs("usage: foreign_weights gpt2|vgg16|vgg16-bn WEIGHTS INPUT.npy LOGITS.npy BACK.safetensors\n", stderr);
    return 64;
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
