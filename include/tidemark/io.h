// Model files: a model's weights, written and read by name.
//
//   td::save(net, "net.safetensors");
//   td::load(net, "net.safetensors");
//
// Names and shapes are PyTorch's for our layers, so that a state_dict that was written as safetensors fits as it is.
// Elements are f32 in memory; files may hold them as f16, bf16, f32 or f64. Loading writes straight into the session's
// memory: there is no second copy of the model, and no byte above the budget.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tidemark/nn/module.h"
#include "tidemark/tensor_file.h"

#pragma GCC visibility push(default)
namespace tidemark {

// How a name in a file reads in the model: '*' stands for any text, and for the same text in both.
struct Rename {
  std::string file;
  std::string module;
  bool transpose = false;  // a matrix of the file has the model's columns as rows
};

// Names that others give to a model's tensors.
struct NameTable {
  std::vector<Rename> renames;       // the first that fits; a name that none fits stays as it is
  std::vector<std::string> ignored;  // patterns of names in files that are passed over, such as buffers of masks
};

// GPT-2, as HuggingFace's files have it ("transformer.h.0.attn.c_attn.weight", also without "transformer."), for
// nn::Gpt. Projections are transposed there.
NameTable gpt2_names();
// VGG-16, with and without batch norm, as torchvision's files have it ("features.0.weight", "classifier.0.weight"), for
// nn::vgg16 of .image = 224. Layers without parameters count in their numbers, dropout too: `dropout` says whether the
// model has it.
NameTable vgg16_names(bool batch_norm = false, bool dropout = true);

struct LoadOptions {
  bool strict = true;       // what is missing in the file or left over is an error
  std::string prefix = {};  // of the names that are for this model: "encoder."; others are passed over
  NameTable names = {};
  std::optional<StoredType> type = {};  // that the file's elements have to be of
  // Parameters that need no gradient (freeze() them before) stay in the file, and take no bytes: each is read when an
  // op needs it, and discarded and read again where the budget is short, as other values are computed again. So a model
  // may be larger than the budget (made under DeferredInit). They cannot be changed or trained. The file stays open,
  // and may be replaced by another but not written to.
  bool lazy = false;
};
// What strict loading would have refused.
struct LoadReport {
  std::vector<std::string> missing;    // names in the model
  std::vector<std::string> left_over;  // names in the file
};

struct SaveOptions {
  StoredType type = StoredType::kF32;  // of elements: kF16, kBF16 or kF32; the first two are rounded to the nearest
  std::string prefix = {};
  NameTable names = {};
  std::map<std::string, std::string> metadata = {};  // of safetensors: texts by name
};

namespace detail {
void save(const nn::detail::Visit& visit, const std::string& path, const SaveOptions& options, SourceLocation where);
LoadReport load(const nn::detail::Visit& visit, const std::string& path, const LoadOptions& options,
                SourceLocation where);
}  // namespace detail

// Parameters, running statistics and counters; the ending of the path says the format: .safetensors or .npz. The file
// is whole, or what was there stays. A tensor that two layers share is written once, under its first name. Throws
// FileError where the file cannot be written.
template <nn::Visitable M>
void save(M& module, const std::string& path, const SaveOptions& options = {},
          SourceLocation where = SourceLocation::current()) {
  detail::save([&](nn::Visitor& v) { module.visit(v); }, path, options, where);
}
// Throws FileError, before a byte of the model changes, where the file is damaged or does not fit: all that is missing,
// left over or of another shape or type, by name. A tensor that two layers share may be in the file under any of its
// names; under several, only with the same elements. Only a disk that fails while weights are read can leave some of
// them loaded; the error names the first that is not.
template <nn::Visitable M>
LoadReport load(M& module, const std::string& path, const LoadOptions& options = {},
                SourceLocation where = SourceLocation::current()) {
  return detail::load([&](nn::Visitor& v) { module.visit(v); }, path, options, where);
}

}  // namespace tidemark
#pragma GCC visibility pop
