// Dynamic tensor rematerialization (Kirisame et al., ICLR 2021) as a yardstick for the online policy: the victim is the
// tensor of least (cost + cost of its evicted neighbourhood) / (bytes * staleness), neighbourhoods by union-find as in
// the paper's prototype, staleness in units of cost, and released tensors evicted at once. Added here: the limit is
// hard, so room is made before a kernel runs. Bytes are counted without offsets, so fragmentation costs it nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "tidemark/scheduler.h"

namespace tidemark::bench {

// The cost of the whole program; nullopt where an op does not fit, or the cost passes `most` times that of one run
// each.
std::optional<double> dtr_cost(const scheduler::Graph& graph, std::int64_t budget, double most);

}  // namespace tidemark::bench
