// What public functions of losses do with their options.
#pragma once

#include <cmath>
#include <string>
#include <string_view>

#include "tidemark/error.h"
#include "tidemark/tensor.h"

namespace tidemark::ops {

// Throws where `holds` is false or the value is no finite number. `allowed` completes "it must be finite and ".
inline void require_option(bool holds, std::string_view op, std::string_view name, float value,
                           std::string_view allowed, SourceLocation where) {
  if (holds && std::isfinite(value)) return;
  throw Error("[" + std::string(op) + "] " + std::string(name) + " is " + std::to_string(value) +
              "; it must be finite" + (allowed.empty() ? "" : " and " + std::string(allowed)) + " (at " +
              to_string(where) + ")");
}

}  // namespace tidemark::ops
