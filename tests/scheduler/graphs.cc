#include "tests/scheduler/graphs.h"

#include <algorithm>

#include "scheduler/program.h"

namespace tidemark::scheduler::testing {

BufferId add_buffer(Graph& graph, std::int64_t units, bool pinned) {
  Buffer buffer;
  buffer.bytes = units * kUnit;
  buffer.pinned = pinned;
  graph.buffers.push_back(buffer);
  return static_cast<BufferId>(graph.buffers.size()) - 1;
}

OpId add_op(Graph& graph, double cost, std::vector<BufferId> reads, std::vector<BufferId> writes) {
  Op op;
  op.cost = cost;
  op.reads = std::move(reads);
  op.writes = std::move(writes);
  graph.ops.push_back(std::move(op));
  return static_cast<OpId>(graph.ops.size()) - 1;
}

Graph chain(int layers, std::int64_t units, double cost) {
  Graph graph;
  std::vector<BufferId> x{add_buffer(graph, units, true)};
  for (int i = 0; i < layers; ++i) {
    x.push_back(add_buffer(graph, units));
    add_op(graph, cost, {x[x.size() - 2]}, {x.back()});
  }
  BufferId gradient = add_buffer(graph, units);
  add_op(graph, cost, {x.back()}, {gradient});
  for (int i = layers; i-- > 0;) {
    const BufferId next = add_buffer(graph, units);
    add_op(graph, 2 * cost, {gradient, x[static_cast<std::size_t>(i)]}, {next});
    gradient = next;
  }
  graph.keep = {gradient};
  return graph;
}

Graph random_graph(std::mt19937_64& rng, const RandomOptions& options) {
  const auto pick = [&](int n) { return static_cast<int>(rng() % static_cast<std::uint64_t>(n)); };
  Graph graph;
  std::vector<BufferId> known;
  const int inputs = 1 + pick(3);
  known.reserve(static_cast<std::size_t>(inputs) + 3 * static_cast<std::size_t>(options.ops));
  for (int i = 0; i < inputs; ++i) known.push_back(add_buffer(graph, 1 + pick(6), pick(2) == 0));
  std::vector<char> updated(4096, 0);
  for (int i = 0; i < options.ops; ++i) {
    std::vector<BufferId> reads;
    const int count = 1 + pick(3);
    for (int r = 0; r < count; ++r) {
      const int window = std::min<int>(static_cast<int>(known.size()), 8);
      const BufferId b = pick(4) == 0 ? known[static_cast<std::size_t>(pick(static_cast<int>(known.size())))]
                                      : known[known.size() - 1 - static_cast<std::size_t>(pick(window))];
      if (std::find(reads.begin(), reads.end(), b) == reads.end()) reads.push_back(b);
    }
    std::vector<BufferId> writes{add_buffer(graph, 1 + pick(8))};
    if (options.features && pick(5) == 0) writes.push_back(add_buffer(graph, 1 + pick(4)));
    const OpId id = add_op(graph, pick(6) == 0 ? 0 : 1 + pick(9), reads, writes);
    Op& op = graph.ops[static_cast<std::size_t>(id)];
    op.name = "op" + std::to_string(id);
    if (options.features) {
      if (pick(4) == 0) op.scratch = (1 + pick(3)) * kUnit;
      if (pick(12) == 0) op.once = true;
      if (pick(6) == 0) op.updates.push_back(known[static_cast<std::size_t>(pick(static_cast<int>(known.size())))]);
      for (BufferId r : reads) {
        const bool larger = graph.buffers[static_cast<std::size_t>(r)].bytes >=
                            graph.buffers[static_cast<std::size_t>(writes[0])].bytes;
        if (larger && pick(2) == 0) op.overwrites.emplace_back(r, writes[0]);
      }
    }
    for (BufferId w : writes) known.push_back(w);
  }
  const int keep = pick(3);
  for (int i = 0; i < keep; ++i)
    graph.keep.push_back(known[static_cast<std::size_t>(pick(static_cast<int>(known.size())))]);
  if (options.releases) {
    std::vector<OpId> last(graph.buffers.size(), 0);
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      const Op& op = graph.ops[i];
      for (const auto* list : {&op.reads, &op.writes, &op.updates}) {
        for (BufferId b : *list) last[static_cast<std::size_t>(b)] = static_cast<OpId>(i);
      }
      graph.ops[i].releases.emplace();
    }
    for (std::size_t b = 0; b < graph.buffers.size(); ++b) {
      const bool kept = std::find(graph.keep.begin(), graph.keep.end(), static_cast<BufferId>(b)) != graph.keep.end();
      if (!kept) graph.ops[static_cast<std::size_t>(last[b])].releases->push_back(static_cast<BufferId>(b));
    }
  }
  return graph;
}

Graph training_graph(std::mt19937_64& rng, int layers) {
  const auto pick = [&](int n) { return static_cast<int>(rng() % static_cast<std::uint64_t>(n)); };
  Graph graph;
  std::vector<BufferId> x{add_buffer(graph, 8, true)};
  std::vector<BufferId> weight;
  std::vector<BufferId> gradient;
  for (int i = 0; i < layers; ++i) {
    weight.push_back(add_buffer(graph, 2 + pick(4), true));
    const auto units = 4 + pick(28);
    x.push_back(add_buffer(graph, units));
    std::vector<BufferId> reads{x[x.size() - 2], weight.back()};
    if (x.size() > 4 && pick(4) == 0) reads.push_back(x[x.size() - 4]);
    const OpId op = add_op(graph, 1 + pick(20), reads, {x.back()});
    graph.ops[static_cast<std::size_t>(op)].scratch = pick(3) * kUnit;
  }
  BufferId g = add_buffer(graph, graph.buffers[static_cast<std::size_t>(x.back())].bytes / kUnit);
  add_op(graph, 1, {x.back()}, {g});
  for (int i = layers; i-- > 0;) {
    const auto l = static_cast<std::size_t>(i);
    const BufferId dw = add_buffer(graph, graph.buffers[static_cast<std::size_t>(weight[l])].bytes / kUnit);
    add_op(graph, 1 + pick(20), {g, x[l]}, {dw});
    const BufferId next = add_buffer(graph, graph.buffers[static_cast<std::size_t>(x[l])].bytes / kUnit);
    const OpId data = add_op(graph, 1 + pick(20), {g, weight[l]}, {next});
    if (graph.buffers[static_cast<std::size_t>(g)].bytes >= graph.buffers[static_cast<std::size_t>(next)].bytes) {
      graph.ops[static_cast<std::size_t>(data)].overwrites = {{g, next}};
    }
    const OpId update = add_op(graph, 0.5, {dw}, {});
    graph.ops[static_cast<std::size_t>(update)].updates = {weight[l]};
    graph.ops[static_cast<std::size_t>(update)].phase = Phase::kUpdate;
    g = next;
  }
  return graph;
}

std::int64_t count_runs(std::span<const Step> steps) {
  return std::count_if(steps.begin(), steps.end(), [](const Step& s) { return s.kind == Step::Kind::kRun; });
}

Start everything_at_start(const Graph& graph) {
  const Program program = compile(graph);
  Start start;
  std::int64_t end = 0;
  for (const bool pinned : {true, false}) {
    for (BufferId b = 0; b < program.buffer_count; ++b) {
      const auto i = static_cast<std::size_t>(b);
      if (!program.at_start[i] || graph.buffers[i].pinned != pinned) continue;
      start.resident.push_back({b, end});
      end += (graph.buffers[i].bytes + kUnit - 1) / kUnit * kUnit;
    }
  }
  return start;
}

}  // namespace tidemark::scheduler::testing
