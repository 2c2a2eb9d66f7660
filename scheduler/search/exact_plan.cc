#include "scheduler/search/exact_plan.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <unordered_map>

namespace tidemark::scheduler {
namespace {

using Set = std::uint64_t;

constexpr int kMostBuffers = 40;  // a state is the next op and a set of buffers, in 64 bits
constexpr OpId kMostOps = 24;

Set bit(BufferId b) { return Set{1} << b; }

Set set_of(std::span<const std::int32_t> list) {
  Set set = 0;
  for (BufferId b : list) set |= bit(b);
  return set;
}

class Annealer {
 public:
  Annealer(const Program& program, std::int64_t budget) : program_(program), budget_(budget) {
    for (OpId op = 0; op < program.op_count; ++op) {
      reads_.push_back(set_of(program.reads[op]));
      writes_.push_back(set_of(program.writes[op]));
    }
    for (BufferId b = 0; b < program.buffer_count; ++b) {
      if (program.pinned[b]) pinned_ |= bit(b);
      if (program.kept[b]) kept_ |= bit(b);
    }
    wanted();
  }

  Exact run(std::int64_t most_states) {
    Set start = 0;
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (program_.at_start[b]) start |= bit(b);
    }
    if (bytes(start) > budget_) return {Exact::Outcome::kImpossible, 0, {}};
    reach({program_.first_op, start}, 0, -1, {});
    for (std::int64_t looked = 0; !queue_.empty(); ++looked) {
      const Entry entry = queue_.top();
      queue_.pop();
      const Node node = nodes_[static_cast<std::size_t>(entry.node)];
      if (entry.cost > node.cost) continue;
      if (node.next == program_.op_count && (kept_ & ~node.resident) == 0) {
        return {Exact::Outcome::kPlanned, node.cost, steps(entry.node)};
      }
      if (looked >= most_states) return {Exact::Outcome::kGaveUp, 0, {}};
      expand(entry.node, node);
    }
    return {Exact::Outcome::kImpossible, 0, {}};
  }

 private:
  struct State {
    OpId next;
    Set resident;
  };
  struct Action {
    OpId op = -1;  // run, or where it is -1 drop
    BufferId buffer = -1;
    std::uint32_t pairs = 0;  // of overwrites, by index
  };
  struct Node {
    OpId next;
    Set resident;
    double cost;
    std::int32_t from;
    Action action;
  };
  struct Entry {
    double cost;
    OpId next;
    std::int32_t node;
    // Cheapest first; of equals the one that is further in the program.
    bool operator<(const Entry& other) const {
      if (cost != other.cost) return cost > other.cost;
      return next != other.next ? next < other.next : node > other.node;
    }
  };

  // What may still be of use from op `next` on.
  void wanted() {
    wanted_.assign(static_cast<std::size_t>(program_.op_count) + 1, kept_ | pinned_);
    for (OpId next = program_.op_count; next >= program_.first_op; --next) {
      Set set = kept_ | pinned_;
      for (OpId op = 0; op < program_.op_count; ++op) {
        if (op >= next || program_.rerun_until[op] >= next) set |= reads_[op];
      }
      wanted_[next] = set;
    }
  }

  std::int64_t bytes(Set set) const {
    std::int64_t sum = 0;
    for (; set != 0; set &= set - 1) sum += program_.bytes[std::countr_zero(set)];
    return sum;
  }

  void reach(State state, double cost, std::int32_t from, Action action) {
    const std::uint64_t key = (static_cast<std::uint64_t>(state.next) << kMostBuffers) | state.resident;
    const auto [known, fresh] = known_.emplace(key, static_cast<std::int32_t>(nodes_.size()));
    if (fresh) {
      nodes_.push_back({state.next, state.resident, cost, from, action});
    } else {
      Node& node = nodes_[static_cast<std::size_t>(known->second)];
      if (node.cost <= cost) return;
      node.cost = cost;
      node.from = from;
      node.action = action;
    }
    queue_.push({cost, state.next, known->second});
  }

  void expand(std::int32_t from, const Node& node) {
    // What nothing can need any more goes at once.
    if (const Set idle = node.resident & ~wanted_[node.next]; idle != 0) {
      const auto b = static_cast<BufferId>(std::countr_zero(idle));
      reach({node.next, node.resident & ~bit(b)}, node.cost, from, {-1, b, 0});
      return;
    }
    bool short_of_room = false;
    for (OpId op = 0; op <= node.next && op < program_.op_count; ++op) {
      const bool first = op == node.next;
      if (!first && program_.rerun_until[op] < node.next) continue;
      if ((reads_[op] & ~node.resident) != 0) continue;
      if (!first && (writes_[op] & ~node.resident) == 0) continue;
      const double cost = first ? node.cost : node.cost + program_.cost[op];
      if (!try_run(from, node, op, cost)) short_of_room = true;
    }
    if (!short_of_room) return;
    for (Set rest = node.resident & ~pinned_; rest != 0; rest &= rest - 1) {
      const auto b = static_cast<BufferId>(std::countr_zero(rest));
      reach({node.next, node.resident & ~bit(b)}, node.cost, from, {-1, b, 0});
    }
  }

  // With every allowed set of overwrites. False where it does not fit without any of them.
  bool try_run(std::int32_t from, const Node& node, OpId op, double cost) {
    const auto& pairs = program_.overwrites[op];
    bool fits = false;
    for (std::uint32_t used = 0; used < (std::uint32_t{1} << pairs.size()); ++used) {
      Set reads = 0;
      Set writes = 0;
      bool valid = true;
      for (std::size_t i = 0; i < pairs.size(); ++i) {
        if ((used >> i & 1) == 0) continue;
        const Set r = bit(pairs[i].first);
        const Set w = bit(pairs[i].second);
        valid = valid && (r & reads) == 0 && (w & (node.resident | writes)) == 0;
        reads |= r;
        writes |= w;
      }
      if (!valid) continue;
      const Set more = writes_[op] & ~node.resident & ~writes;
      if (bytes(node.resident) + bytes(more) + program_.scratch[op] > budget_) continue;
      if (used == 0) fits = true;
      reach({op == node.next ? op + 1 : node.next, (node.resident & ~reads) | writes_[op]}, cost, from, {op, -1, used});
    }
    return fits;
  }

  std::vector<Step> steps(std::int32_t last) const {
    std::vector<Step> result;
    for (std::int32_t at = last; nodes_[static_cast<std::size_t>(at)].from >= 0;) {
      const Node& node = nodes_[static_cast<std::size_t>(at)];
      if (node.action.op >= 0) {
        Step step = run_step(node.action.op);
        const auto& pairs = program_.overwrites[node.action.op];
        for (std::size_t i = 0; i < pairs.size(); ++i) {
          if ((node.action.pairs >> i & 1) != 0) step.overwrites.push_back(pairs[i]);
        }
        result.push_back(std::move(step));
      }
      at = node.from;
    }
    return dropped_at_last_use(std::move(result));
  }

  // The search drops where it needs room; in the plan bytes go as soon as nothing reads them any more. `reversed` runs
  // from the end of the program.
  std::vector<Step> dropped_at_last_use(std::vector<Step> reversed) const {
    std::vector<Step> result;
    Set needed = kept_ | pinned_;
    const auto drop = [&](Set set) {
      for (; set != 0; set &= set - 1) result.push_back(drop_step(static_cast<BufferId>(std::countr_zero(set))));
    };
    for (Step& step : reversed) {
      Set gone = 0;
      for (const auto& [read, write] : step.overwrites) gone |= bit(read);
      drop((reads_[step.id] | writes_[step.id]) & ~needed & ~gone);
      needed = (needed & ~writes_[step.id]) | reads_[step.id];
      result.push_back(std::move(step));
    }
    Set start = 0;
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (program_.at_start[b]) start |= bit(b);
    }
    drop(start & ~needed);
    std::reverse(result.begin(), result.end());
    return result;
  }

  const Program& program_;
  const std::int64_t budget_;
  std::vector<Set> reads_;
  std::vector<Set> writes_;
  std::vector<Set> wanted_;
  Set pinned_ = 0;
  Set kept_ = 0;
  std::vector<Node> nodes_;
  std::unordered_map<std::uint64_t, std::int32_t> known_;
  std::priority_queue<Entry> queue_;
};

}  // namespace

bool small_enough(const Program& program) {
  if (program.op_count > kMostOps || program.buffer_count > kMostBuffers) return false;
  return std::all_of(program.overwrites.begin(), program.overwrites.end(),
                     [](const auto& pairs) { return pairs.size() <= 8; });
}

Exact exact_plan(const Program& program, std::int64_t budget, std::int64_t most_states) {
  return Annealer(program, budget).run(most_states);
}

}  // namespace tidemark::scheduler
