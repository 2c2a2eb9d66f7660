// The op table: every op of ops.def with its samples. An op's file defines `<name>_samples()`.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "tidemark/op.h"

namespace tidemark::ops {

#define TIDEMARK_OP(name) std::vector<Sample> name##_samples();
#include "ops/ops.def"
#undef TIDEMARK_OP

struct OpEntry {
  std::string_view name;
  std::vector<Sample> (*samples)();
};

std::span<const OpEntry> op_table();

}  // namespace tidemark::ops
