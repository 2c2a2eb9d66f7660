#include "ops/table.h"

namespace tidemark::ops {

std::span<const OpEntry> op_table() {
#define TIDEMARK_OP(name) OpEntry{#name, name##_samples},
  static const std::vector<OpEntry> table = {
#include "ops/ops.def"
  };
#undef TIDEMARK_OP
  return table;
}

}  // namespace tidemark::ops
