// Graphs for tests: built by hand, and random ones that use every feature of the format.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler::testing {

inline constexpr std::int64_t kUnit = 64;

BufferId add_buffer(Graph& graph, std::int64_t units, bool pinned = false);
OpId add_op(Graph& graph, double cost, std::vector<BufferId> reads, std::vector<BufferId> writes);

// x0 -> x1 -> ... -> xn, then the backward ops that read them in reverse.
Graph chain(int layers, std::int64_t units = 4, double cost = 1);

struct RandomOptions {
  int ops = 12;
  bool features = true;  // updates, once, overwrites, scratch, several outputs, pinned and unpinned inputs
  bool releases = false;
};
Graph random_graph(std::mt19937_64& rng, const RandomOptions& options);

// Forward and backward with parameters, accumulated gradients and fused updates, as an engine exports them.
Graph training_graph(std::mt19937_64& rng, int layers);

std::int64_t count_runs(std::span<const Step> steps);

// Every input resident, pinned ones at the bottom.
Start everything_at_start(const Graph& graph);

}  // namespace tidemark::scheduler::testing
