// For public functions that look at their operands before an op is recorded, which names undefined ones itself.
#pragma once

#include <initializer_list>
#include <string>

#include "tidemark/error.h"
#include "tidemark/tensor.h"

namespace tidemark::ops {

inline void require_defined(const char* op, std::initializer_list<const Tensor*> inputs, SourceLocation where) {
  int index = 0;
  for (const Tensor* input : inputs) {
    if (!input->defined()) {
      throw Error(std::string("[") + op + "] input " + std::to_string(index) + " is an undefined tensor (at " +
                  to_string(where) + ")");
    }
    ++index;
  }
}

}  // namespace tidemark::ops
