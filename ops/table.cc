#include "ops/table.h"

namespace tidemark::ops {

// Op files define these; they do not see this list, so that a new op compiles no other again.
#define TIDEMARK_OP(name) std::vector<Sample> name##_samples();
#define TIDEMARK_FORMULAS(name) std::vector<OpEntry> name##_ops();
#include "ops/ops.def"
#undef TIDEMARK_OP
#undef TIDEMARK_FORMULAS

namespace {

std::vector<OpEntry> make_table() {
  std::vector<OpEntry> table;
#define TIDEMARK_OP(name) table.push_back({#name, name##_samples});
#define TIDEMARK_FORMULAS(name) \
  for (OpEntry & entry : name##_ops()) table.push_back(std::move(entry));
#include "ops/ops.def"
#undef TIDEMARK_OP
#undef TIDEMARK_FORMULAS
  return table;
}

}  // namespace

std::span<const OpEntry> op_table() {
  static const std::vector<OpEntry> table = make_table();
  return table;
}

}  // namespace tidemark::ops
