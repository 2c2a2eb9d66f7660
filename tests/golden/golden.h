// Values and gradients against PyTorch's, from the files that make_golden.py wrote, through the public interface.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tidemark/tensor.h"

namespace tidemark::test {

// Inputs in the order of the file.
using Inputs = std::vector<Tensor>;
using Function = std::function<Tensor(const Inputs&)>;

// `functions` computes each case of FAMILY.txt, by the case's name; every case has one. Values and gradients are within
// 1e-5 of the largest; what is not f32 is equal.
void check_family(const std::string& family, const std::map<std::string, Function>& functions);

}  // namespace tidemark::test
