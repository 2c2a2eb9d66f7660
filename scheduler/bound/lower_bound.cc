#include "scheduler/bound/lower_bound.h"

#include <algorithm>

#include "scheduler/bound/instant_bound.h"
#include "scheduler/bound/whole_buffers.h"

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
  explicit Sweep(const Program& program)
      : program_(program), stride_(std::max<OpId>(1, program.op_count / kMostKnapsacks)) {
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
      instant.needed -= most_in_place(program_, t);
      for (BufferId b : live) {
        if (touched_[b] == t) continue;
        const OpId producer = program_.producer[b];
        if (producer < 0 || program_.rerun_until[producer] <= t) {
          instant.needed += program_.bytes[b];
          continue;
        }
        instant.optional += program_.bytes[b];
        if (t % stride_ != 0 || program_.bytes[b] == 0) continue;
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
  static constexpr OpId kMostKnapsacks = 1000;

  const Program& program_;
  const OpId stride_;  // items are listed at multiples of it only
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

std::int64_t most_in_place(const Program& program, OpId op) {
  std::int64_t saved = 0;
  std::vector<BufferId> writes;
  for (const auto& [r, w] : program.overwrites[op]) writes.push_back(w);
  std::sort(writes.begin(), writes.end());
  writes.erase(std::unique(writes.begin(), writes.end()), writes.end());
  for (BufferId w : writes) saved += program.bytes[w];
  return saved;
}

namespace {

// Looks for the instant with the highest bound of an instant.
class Peak {
 public:
  Peak(const Program& program, std::int64_t budget, std::int64_t work)
      : program_(program), budget_(budget), work_(work), known_(static_cast<std::size_t>(program.op_count), 0) {}

  void look(OpId t) {
    if (t < program_.first_op || t >= program_.op_count || known_[t] || work_ <= 0) return;
    known_[t] = 1;
    InstantBound at_instant(program_, t);
    const double extra = at_instant.bound(budget_);
    work_ -= at_instant.work() + program_.buffer_count + program_.op_count;
    seen_.emplace_back(-extra, t);
    if (instant >= 0 && extra <= best) return;
    best = extra;
    instant = t;
  }

  // In whole buffers, at the instants where the bound is highest without that.
  double in_whole(std::int64_t work) {
    constexpr std::int64_t kInstants = 4;
    std::sort(seen_.begin(), seen_.end());
    double extra = best;
    for (std::int64_t i = 0; i < std::min(kInstants, static_cast<std::int64_t>(seen_.size())); ++i) {
      InstantBound at_instant(program_, seen_[static_cast<std::size_t>(i)].second);
      extra = std::max(extra, whole_bound(at_instant, budget_, work / kInstants));
    }
    return extra;
  }

  double best = 0;
  OpId instant = -1;

 private:
  const Program& program_;
  const std::int64_t budget_;
  std::vector<std::pair<double, OpId>> seen_;  // bounds, less than 0
  std::int64_t work_;
  std::vector<char> known_;
};

// What is absent at the start and read later runs again in any case.
double absent_cost(const Program& program) {
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
  return absent;
}

}  // namespace

Bound lower_bound(const Program& program, std::int64_t budget, std::int64_t work) {
  constexpr OpId kGrid = 12;
  Bound result;
  result.least_budget = program.start_bytes;
  double most = 0;
  OpId knapsack = -1;
  OpId fullest = -1;
  std::int64_t excess_most = 0;
  std::vector<OpId> binding;
  Sweep(program).run([&](OpId t, Instant& instant) {
    result.least_budget = std::max(result.least_budget, instant.needed);
    const std::int64_t excess = instant.needed + instant.optional - budget;
    if (excess <= 0) return;
    binding.push_back(t);
    if (excess > excess_most) {
      excess_most = excess;
      fullest = t;
    }
    if (instant.items.empty()) return;
    const double extra = fractional(instant.items, excess);
    if (knapsack >= 0 && extra <= most) return;
    most = extra;
    knapsack = t;
  });
  if (binding.empty() || result.least_budget > budget) {
    result.extra = absent_cost(program);
    return result;
  }
  Peak peak(program, budget, work);
  peak.look(knapsack);
  peak.look(fullest);
  const auto count = static_cast<OpId>(binding.size());
  const OpId step = std::max<OpId>(1, count / kGrid);
  for (OpId i = step / 2; i < count; i += step) peak.look(binding[static_cast<std::size_t>(i)]);
  for (OpId reach = std::max<OpId>(1, step / 2); reach >= 1; reach /= 2) {
    OpId center = -1;
    while (center != peak.instant) {
      center = peak.instant;
      peak.look(center - reach);
      peak.look(center + reach);
    }
  }
  result.instant = peak.instant;
  result.extra = std::max({peak.in_whole(work / 8), most, absent_cost(program)});
  return result;
}

std::vector<OpId> narrow_instants(const Program& program, std::int64_t budget) {
  constexpr std::size_t kNeeding = 8;
  constexpr std::size_t kLeaving = 6;
  std::vector<std::pair<double, OpId>> needed;
  std::vector<std::pair<double, OpId>> left_out;
  Sweep(program).run([&](OpId t, Instant& instant) {
    const std::int64_t excess = instant.needed + instant.optional - budget;
    const bool binds = excess > 0 && instant.optional > 0;
    needed.emplace_back(binds ? static_cast<double>(instant.needed) : 0, t);
    left_out.emplace_back(binds ? static_cast<double>(excess) / static_cast<double>(instant.optional) : 0, t);
  });
  std::vector<OpId> narrow;
  const auto add_tops = [&](const std::vector<std::pair<double, OpId>>& values, std::size_t most) {
    std::vector<std::pair<double, OpId>> tops;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double before = i > 0 ? values[i - 1].first : 0;
      const double after = i + 1 < values.size() ? values[i + 1].first : 0;
      if (values[i].first > before && values[i].first >= after) tops.emplace_back(-values[i].first, values[i].second);
    }
    std::sort(tops.begin(), tops.end());
    tops.resize(std::min(most, tops.size()));
    for (const auto& [value, t] : tops) {
      if (std::find(narrow.begin(), narrow.end(), t) == narrow.end()) narrow.push_back(t);
    }
  };
  add_tops(left_out, kLeaving);
  add_tops(needed, kNeeding);
  return narrow;
}

std::int64_t least_budget(const Program& program) {
  std::int64_t least = program.start_bytes;
  Sweep(program).run([&](OpId, Instant& instant) { least = std::max(least, instant.needed); });
  return least;
}

}  // namespace tidemark::scheduler
