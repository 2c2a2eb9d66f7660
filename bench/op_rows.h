// The rows of op_bench: calls of each op at sizes that models have.
#pragma once

#include <vector>

#include "ops/table.h"

namespace tidemark {

// Samples of the op table whose operands have grown.
std::vector<Sample> rows_of(const ops::OpEntry& op);

}  // namespace tidemark
