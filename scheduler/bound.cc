#include "scheduler/bound.h"

#include <algorithm>

namespace tidemark::scheduler {
namespace {

// While op t runs, what it does not touch and a later op reads is resident, or its producer runs again after t.
struct Item {
  OpId op;
  std::int64_t bytes;
  double cost;
};

struct Instant {
  std::int64_t needed = 0;  // pinned, touched, and what cannot be computed again
  std::int64_t optional = 0;
  std::vector<Item> items;
};

class Sweep {
 public:
  explicit Sweep(const Program& program) : program_(program) {
    last_use_.assign(static_cast<std::size_t>(program.buffer_count), -1);
    begins_.resize(static_cast<std::size_t>(program.op_count) + 1);
    touched_.assign(static_cast<std::size_t>(program.buffer_count), -1);
    slot_.assign(static_cast<std::size_t>(program.op_count), -1);
    for (BufferId b = 0; b < program.buffer_count; ++b) {
      if (program.pinned[b]) continue;
      const auto users = program.users[b];
      if (program.kept[b]) {
        last_use_[b] = program.op_count;
      } else if (!users.empty()) {
        last_use_[b] = users.back();
      }
      if (last_use_[b] < program.first_op) continue;
      const OpId producer = program.producer[b];
      const OpId from = producer < program.first_op ? program.first_op : producer;
      begins_[static_cast<std::size_t>(from)].push_back(b);
    }
  }

  // Calls visit(op, instant) for every op that is still to run.
  template <typename Visit>
  void run(Visit visit) {
    std::vector<BufferId> live;
    for (OpId t = program_.first_op; t < program_.op_count; ++t) {
      live.erase(std::remove_if(live.begin(), live.end(), [&](BufferId b) { return last_use_[b] <= t; }), live.end());
      for (BufferId b : begins_[static_cast<std::size_t>(t)]) {
        if (last_use_[b] > t) live.push_back(b);
      }
      Instant instant;
      instant.needed = program_.pinned_bytes + program_.scratch[t];
      const auto touch = [&](BufferId b) {
        if (touched_[b] == t || program_.pinned[b]) return;
        touched_[b] = t;
        instant.needed += program_.bytes[b];
      };
      for (BufferId b : program_.reads[t]) touch(b);
      for (BufferId b : program_.writes[t]) touch(b);
      instant.needed -= in_place(t);
      for (BufferId b : live) {
        if (touched_[b] == t) continue;
        const OpId producer = program_.producer[b];
        if (producer < 0 || program_.rerun_until[producer] <= t) {
          instant.needed += program_.bytes[b];
          continue;
        }
        instant.optional += program_.bytes[b];
        if (slot_[producer] < 0) {
          slot_[producer] = static_cast<std::int32_t>(instant.items.size());
          instant.items.push_back({producer, 0, program_.cost[producer]});
        }
        instant.items[static_cast<std::size_t>(slot_[producer])].bytes += program_.bytes[b];
      }
      for (const Item& item : instant.items) slot_[item.op] = -1;
      visit(t, instant);
    }
  }

 private:
  // The most that writing over reads can save.
  std::int64_t in_place(OpId t) {
    std::int64_t saved = 0;
    std::vector<BufferId> writes;
    for (const auto& [r, w] : program_.overwrites[t]) writes.push_back(w);
    std::sort(writes.begin(), writes.end());
    writes.erase(std::unique(writes.begin(), writes.end()), writes.end());
    for (BufferId w : writes) saved += program_.bytes[w];
    return saved;
  }

  const Program& program_;
  std::vector<OpId> last_use_;
  std::vector<std::vector<BufferId>> begins_;
  std::vector<OpId> touched_;
  std::vector<std::int32_t> slot_;
};

bool cheaper(const Item& a, const Item& b) {
  const double x = a.cost * static_cast<double>(b.bytes);
  const double y = b.cost * static_cast<double>(a.bytes);
  return x != y ? x < y : a.op < b.op;
}

// The least cost that frees `bytes`, where any part of an item may be taken.
double fractional(std::vector<Item>& items, std::int64_t bytes) {
  std::sort(items.begin(), items.end(), cheaper);
  double cost = 0;
  for (const Item& item : items) {
    if (bytes <= item.bytes) return cost + item.cost * static_cast<double>(bytes) / static_cast<double>(item.bytes);
    cost += item.cost;
    bytes -= item.bytes;
  }
  return cost;
}

}  // namespace

Bound lower_bound(const Program& program, std::int64_t budget) {
  Bound result;
  result.least_budget = program.pinned_bytes;
  Sweep(program).run([&](OpId t, Instant& instant) {
    result.least_budget = std::max(result.least_budget, instant.needed);
    const std::int64_t excess = instant.needed + instant.optional - budget;
    if (excess <= 0) return;
    const double extra = fractional(instant.items, excess);
    if (result.instant >= 0 && extra <= result.extra) return;
    result.extra = extra;
    result.instant = t;
  });
  if (result.instant >= 0) result.victims = knapsack_victims(program, result.instant, budget);
  // What is absent at the start and read later runs again in any case.
  double absent = 0;
  std::vector<char> counted(static_cast<std::size_t>(program.op_count), 0);
  for (BufferId b = 0; b < program.buffer_count; ++b) {
    const OpId producer = program.producer[b];
    if (program.at_start[b] || producer < 0 || producer >= program.first_op || counted[producer]) continue;
    const auto users = program.users[b];
    if (!program.kept[b] && (users.empty() || users.back() < program.first_op)) continue;
    counted[producer] = 1;
    absent += program.cost[producer];
  }
  result.extra = std::max(result.extra, absent);
  return result;
}

std::vector<OpId> knapsack_victims(const Program& program, OpId instant, std::int64_t budget) {
  std::vector<OpId> victims;
  Sweep(program).run([&](OpId t, Instant& at) {
    if (t != instant) return;
    std::int64_t excess = at.needed + at.optional - budget;
    std::sort(at.items.begin(), at.items.end(), cheaper);
    for (const Item& item : at.items) {
      if (excess <= 0) break;
      victims.push_back(item.op);
      excess -= item.bytes;
    }
  });
  return victims;
}

}  // namespace tidemark::scheduler
