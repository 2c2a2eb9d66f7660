// A tensor with the name it has in its model: what optimizers take and messages say.
#pragma once

#include <string>
#include <utility>

#include "tidemark/tensor.h"

namespace tidemark {

class Parameter : public Tensor {
 public:
  Parameter(const Tensor& tensor, std::string name = {})  // NOLINT: a list of plain tensors is a list of parameters
      : Tensor(tensor), name_(std::move(name)) {}
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

}  // namespace tidemark
