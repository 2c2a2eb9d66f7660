// The op table: every op of ops.def with its samples. An op's file defines `<name>_samples()`, a file of formulas
// `<name>_ops()`.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "tidemark/op.h"

namespace tidemark::ops {

struct OpEntry {
  std::string_view name;
  std::function<std::vector<Sample>()> samples;
};

std::span<const OpEntry> op_table();

}  // namespace tidemark::ops
