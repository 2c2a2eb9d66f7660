// Graphs made of the fuzzer's bytes: most of them valid, with sizes and costs from nothing to the largest allowed.
#pragma once

#include "tests/fuzz/input.h"
#include "tidemark/scheduler.h"

namespace tidemark::fuzz {

// At most `most_ops` ops. `wild`: ids may be any, so that most graphs break a rule.
scheduler::Graph any_graph(Input& input, int most_ops, bool wild);
// Most of them between the two.
std::int64_t any_budget(Input& input, std::int64_t least, std::int64_t peak);

}  // namespace tidemark::fuzz
