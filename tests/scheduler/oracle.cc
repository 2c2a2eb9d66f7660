#include "tests/scheduler/oracle.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <unordered_map>
#include <vector>

namespace tidemark::scheduler::testing {
namespace {

using Set = std::uint32_t;

Set bit(BufferId b) { return Set{1} << b; }

Set set_of(const std::vector<BufferId>& list) {
  Set set = 0;
  for (BufferId b : list) set |= bit(b);
  return set;
}

class Oracle {
 public:
  Oracle(const Graph& graph, std::int64_t budget) : graph_(graph), budget_(budget) {
    Set written = 0;
    for (const Op& op : graph.ops) {
      reads_.push_back(set_of(op.reads) | set_of(op.updates));
      writes_.push_back(set_of(op.writes));
      updates_.push_back(set_of(op.updates));
      written |= writes_.back();
    }
    inputs_ = (Set{1} << graph.buffers.size()) - 1;
    inputs_ &= ~written;
    for (std::size_t b = 0; b < graph.buffers.size(); ++b) {
      if (graph.buffers[b].pinned) pinned_ |= Set{1} << b;
    }
  }

  std::optional<double> run() {
    if (bytes(inputs_) > budget_) return std::nullopt;
    reach(0, inputs_, 0);
    while (!queue_.empty()) {
      const auto [cost, state] = queue_.top();
      queue_.pop();
      if (cost > best_[state]) continue;
      const auto next = static_cast<std::size_t>(state >> 32);
      const auto resident = static_cast<Set>(state);
      if (next == graph_.ops.size() && (set_of(graph_.keep) & ~resident) == 0) return cost;
      for (Set rest = resident & ~pinned_; rest != 0; rest &= rest - 1) {
        reach(next, resident & ~(rest & (~rest + 1)), cost);
      }
      for (std::size_t op = 0; op <= next && op < graph_.ops.size(); ++op) try_run(next, resident, op, cost);
    }
    return std::nullopt;
  }

 private:
  std::int64_t bytes(Set set) const {
    std::int64_t sum = 0;
    for (; set != 0; set &= set - 1) sum += graph_.buffers[static_cast<std::size_t>(std::countr_zero(set))].bytes;
    return sum;
  }

  void reach(std::size_t next, Set resident, double cost) {
    const std::uint64_t state = (static_cast<std::uint64_t>(next) << 32) | resident;
    const auto [known, fresh] = best_.emplace(state, cost);
    if (!fresh && known->second <= cost) return;
    known->second = cost;
    queue_.emplace(cost, state);
  }

  void try_run(std::size_t next, Set resident, std::size_t id, double cost) {
    const Op& op = graph_.ops[id];
    if ((reads_[id] & ~resident) != 0) return;
    if (id < next) {
      if (op.once || updates_[id] != 0) return;
      for (std::size_t between = 0; between < next; ++between) {
        if (between > id && (updates_[between] & reads_[id]) != 0) return;
        if ((updates_[between] & writes_[id]) != 0) return;
      }
    }
    for (std::size_t used = 0; used < (std::size_t{1} << op.overwrites.size()); ++used) {
      Set from = 0;
      Set to = 0;
      bool valid = true;
      for (std::size_t i = 0; i < op.overwrites.size(); ++i) {
        if ((used >> i & 1) == 0) continue;
        const Set r = bit(op.overwrites[i].first);
        const Set w = bit(op.overwrites[i].second);
        valid &= (r & (pinned_ | from | updates_[id])) == 0 && (w & (resident | to)) == 0;
        from |= r;
        to |= w;
      }
      if (!valid || bytes(resident) + bytes(writes_[id] & ~resident & ~to) + op.scratch > budget_) continue;
      reach(id == next ? next + 1 : next, (resident & ~from) | writes_[id], cost + op.cost);
    }
  }

  const Graph& graph_;
  const std::int64_t budget_;
  std::vector<Set> reads_;
  std::vector<Set> writes_;
  std::vector<Set> updates_;
  Set inputs_ = 0;
  Set pinned_ = 0;
  std::unordered_map<std::uint64_t, double> best_;
  using Entry = std::pair<double, std::uint64_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

}  // namespace

std::optional<double> cheapest_plan(const Graph& graph, std::int64_t budget) { return Oracle(graph, budget).run(); }

}  // namespace tidemark::scheduler::testing
