// A model's tensors with the names they have in it and in a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/io.h"
#include "tidemark/nn/module.h"
#include "tidemark/tensor.h"

namespace tidemark::io {

struct ModelTensor {
  std::vector<std::string> names;  // several where layers share it; the first is the one that counts
  Tensor tensor;
  bool parameter = false;  // else state
};
struct ModelCounter {
  std::string name;
  std::int64_t* value = nullptr;
};
struct ModelTensors {
  std::vector<ModelTensor> tensors;  // parameters and state, in the order of the visit
  std::vector<ModelCounter> counters;
};
ModelTensors model_tensors(const nn::detail::Visit& visit);

// Whether the text is of the pattern, in which '*' stands for any text; then `stars` are what they stood for. Where
// several readings fit, the first stars are as short as they can be.
bool match(std::string_view text, std::string_view pattern, std::vector<std::string>& stars);

// The name on the other side, and whether the matrix is transposed there.
struct Renamed {
  std::string name;
  bool transpose = false;
};
Renamed to_module(const NameTable& names, const std::string& file_name);
Renamed to_file(const NameTable& names, const std::string& module_name);
// Throws Error where the two names of an entry have not the same number of stars.
void check(const NameTable& names, SourceLocation where);

}  // namespace tidemark::io
