#include "scheduler/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tidemark::scheduler {

using Key = Schedule::Key;

Search::Search(const Program& program, std::int64_t budget, std::uint64_t seed)
    : program_(program),
      schedule_(program, static_cast<double>(budget - program.pinned_bytes)),
      state_(seed * 0x9E3779B97F4A7C15U + 0x2545F4914F6CDD1DU),
      best_extra_(std::numeric_limits<double>::infinity()) {
  mend();
  keep_if_best();
  journal_.clear();
}

std::uint64_t Search::random() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

void Search::add(OpId op, OpId stage) {
  schedule_.add(op, stage);
  journal_.push_back({true, op, stage});
}

void Search::remove(OpId op, OpId stage) {
  schedule_.remove(op, stage);
  journal_.push_back({false, op, stage});
}

void Search::undo(std::size_t size) {
  while (journal_.size() > size) {
    const Change change = journal_.back();
    journal_.pop_back();
    if (change.added) {
      schedule_.remove(change.op, change.stage);
    } else {
      schedule_.add(change.op, change.stage);
    }
  }
}

void Search::load(std::span<const Key> reruns) {
  schedule_.clear();
  for (Key k : reruns) {
    if (schedule_.may_add(Schedule::op_of(k), Schedule::stage_of(k))) {
      schedule_.add(Schedule::op_of(k), Schedule::stage_of(k));
    }
  }
  mend();
  journal_.clear();
}

// After a start in mid-program: computes again what is read and not there.
void Search::mend() {
  if (schedule_.missing() == 0) return;
  for (BufferId b = 0; b < program_.buffer_count && schedule_.missing() > 0; ++b) {
    if (program_.pinned[b] || program_.producer[b] < 0) continue;
    const Schedule::Occurrence* first = schedule_.next(b, 0);
    if (first == nullptr || first->produced || schedule_.previous(b, first->key) != nullptr) continue;
    if (program_.at_start[b]) continue;
    add_with_ancestors(program_.producer[b], Schedule::stage_of(first->key), 0, 0);
  }
}

// Runs `op` again before `stage`; a read that is not in memory then is computed again as well with the given chance,
// and always where it was never there.
bool Search::add_with_ancestors(OpId op, OpId stage, double chance, int depth) {
  if (stage > program_.rerun_until[op] || op >= stage) return false;
  const Key k = Schedule::key(op, stage);
  if (schedule_.contains(op, stage)) return true;
  for (BufferId b : program_.reads[op]) {
    if (schedule_.live_before(b, k)) continue;
    const OpId producer = program_.producer[b];
    const bool must = schedule_.previous(b, k) == nullptr;
    if (must && producer < 0) return false;
    if (producer < 0 || stage > program_.rerun_until[producer] || schedule_.contains(producer, stage)) continue;
    if (!must && (depth > 64 || uniform() >= chance)) continue;
    if (!add_with_ancestors(producer, stage, chance, depth + 1) && must) return false;
  }
  if (!schedule_.may_add(op, stage)) return false;
  add(op, stage);
  return true;
}

// Nothing reads an output of this run before it is written again.
bool Search::idle(OpId op, OpId stage) const {
  const Key k = Schedule::key(op, stage);
  for (BufferId b : program_.writes[op]) {
    if (!schedule_.last_use(b, k)) return false;
  }
  return true;
}

void Search::remove_with_idle(OpId op, OpId stage) {
  if (!schedule_.may_remove(op, stage)) return;
  const Key k = Schedule::key(op, stage);
  remove(op, stage);
  for (BufferId b : program_.reads[op]) {
    const OpId producer = program_.producer[b];
    if (producer < 0 || program_.pinned[b]) continue;
    const Schedule::Occurrence* before = schedule_.previous(b, k);
    if (before == nullptr || !before->produced || before->key == 0) continue;
    const OpId at = Schedule::stage_of(before->key);
    if (at != producer && idle(producer, at)) remove_with_idle(producer, at);
  }
}

bool Search::recompute_at_next_use(BufferId b, Key after, double chance) {
  const OpId producer = program_.producer[b];
  const Schedule::Occurrence* use = schedule_.next(b, after);
  if (producer < 0 || use == nullptr || use->produced) return false;
  return add_with_ancestors(producer, Schedule::stage_of(use->key), chance, 0);
}

void Search::keep_if_best() {
  if (schedule_.overflow() > 0.5 || schedule_.missing() > 0) return;
  if (feasible_ && schedule_.extra() >= best_extra_ * (1 - 1e-12)) return;
  feasible_ = true;
  best_extra_ = schedule_.extra();
  best_ = schedule_.reruns();
}

void Search::offer(std::span<const Key> reruns) {
  const std::vector<Key> now = schedule_.reruns();
  const double before = energy();
  load(reruns);
  keep_if_best();
  if (penalty_ > 0 && energy() > before) load(now);
}

// Runs `op` again with every read that the choice does not keep.
bool Search::add_as_chosen(OpId op, OpId stage, const Closure::Choice& choice) {
  std::vector<OpId> stack{op};
  std::vector<OpId> order;
  while (!stack.empty()) {
    const OpId top = stack.back();
    stack.pop_back();
    if (stage > program_.rerun_until[top] || schedule_.contains(top, stage)) continue;
    if (std::find(order.begin(), order.end(), top) != order.end()) continue;
    order.push_back(top);
    for (BufferId b : program_.reads[top]) {
      const OpId producer = program_.producer[b];
      if (producer < 0 || choice.stays[b] || !choice.reruns[producer]) continue;
      if (!schedule_.live_before(b, Schedule::key(top, stage))) stack.push_back(producer);
    }
  }
  std::sort(order.begin(), order.end());
  for (OpId next : order) {
    if (schedule_.may_add(next, stage)) add(next, stage);
  }
  return schedule_.contains(op, stage);
}

void Search::carry_out(const Closure::Choice& choice, OpId instant) {
  const Key k = Schedule::key(instant, instant);
  for (OpId op = 0; op < program_.op_count; ++op) {
    if (!choice.reruns[op]) continue;
    for (BufferId b : program_.writes[op]) {
      if (choice.stays[b] || !schedule_.live_across(b, k)) continue;
      add_as_chosen(op, Schedule::stage_of(schedule_.next(b, k)->key), choice);
    }
  }
}

void Search::warm_start(Closure& closure, OpId instant) {
  const double overflow = schedule_.overflow();
  const auto room = static_cast<double>(static_cast<std::int64_t>(schedule_.room()) + program_.pinned_bytes);
  const std::vector<Key> base = schedule_.reruns();
  std::vector<Key> best = base;
  double least = 0;
  for (double part = 1.0; part > 0.3; part -= 0.04) {
    Closure::Choice choice;
    closure.bound(static_cast<std::int64_t>(room * part), &choice);
    if (choice.reruns.empty()) break;
    if (penalty_ <= 0) {
      const auto count = std::max<std::ptrdiff_t>(1, std::count(choice.reruns.begin(), choice.reruns.end(), 1));
      unit_ = std::max(choice.cost / static_cast<double>(count), program_.base_cost * 1e-9);
      penalty_ = 4 * std::max(choice.cost, unit_) / std::max(1.0, overflow);
      least = energy();
    }
    load(base);
    carry_out(choice, instant);
    keep_if_best();
    if (energy() < least) {
      least = energy();
      best = schedule_.reruns();
    }
    if (schedule_.overflow() <= 0) break;
  }
  load(best);
}

// Recomputes something that lies idle over an instant above the room.
bool Search::relieve() {
  if (schedule_.overflow() <= 0.5) return false;
  const std::size_t n = schedule_.size();
  std::size_t i = below(n);
  for (std::size_t tries = 0; tries < n && schedule_.memory(i) <= schedule_.room(); ++tries) i = i + 1 < n ? i + 1 : 0;
  if (schedule_.memory(i) <= schedule_.room()) return false;
  const Key k = schedule_.event(i);
  const auto buffers = static_cast<std::size_t>(program_.buffer_count);
  for (int tries = 0; tries < 40; ++tries) {
    const auto b = static_cast<BufferId>(below(buffers));
    if (program_.producer[b] < 0 || program_.bytes[b] == 0 || !schedule_.live_across(b, k)) continue;
    return recompute_at_next_use(b, k, 0.7);
  }
  return false;
}

bool Search::remove_random() {
  const std::size_t n = schedule_.size();
  std::size_t i = below(n);
  for (std::size_t tries = 0; tries < n; ++tries, i = i + 1 < n ? i + 1 : 0) {
    const Key k = schedule_.event(i);
    if (k == 0 || Schedule::op_of(k) == Schedule::stage_of(k)) continue;
    const std::size_t before = journal_.size();
    remove_with_idle(Schedule::op_of(k), Schedule::stage_of(k));
    return journal_.size() > before;
  }
  return false;
}

bool Search::swap() {
  if (!remove_random()) return false;
  for (int i = 0; i < 3 && schedule_.overflow() > 0.5; ++i) relieve();
  return true;
}

// Moves a rerun to another stage where something of its neighbourhood happens.
bool Search::shift() {
  const std::size_t n = schedule_.size();
  std::size_t i = below(n);
  for (std::size_t tries = 0; tries < n; ++tries, i = i + 1 < n ? i + 1 : 0) {
    const Key k = schedule_.event(i);
    if (k == 0 || Schedule::op_of(k) == Schedule::stage_of(k)) continue;
    const OpId op = Schedule::op_of(k);
    const OpId stage = Schedule::stage_of(k);
    OpId to = stage;
    const auto writes = program_.writes[op];
    if (writes.empty()) return false;
    const BufferId b = writes[below(writes.size())];
    const Schedule::Occurrence* other = uniform() < 0.5 ? schedule_.next(b, k) : schedule_.previous(b, k);
    if (other != nullptr && other->key != 0 && uniform() < 0.7) {
      to = Schedule::stage_of(other->key);
    } else {
      to = stage + static_cast<OpId>(below(9)) - 4;
    }
    if (to == stage || to < program_.first_op || to > program_.op_count) return false;
    if (schedule_.contains(op, to) || to <= op || to > program_.rerun_until[op]) return false;
    if (!schedule_.may_remove(op, stage)) return false;
    remove(op, stage);
    return add_with_ancestors(op, to, 0.3, 0);
  }
  return false;
}

bool Search::clear_stage() {
  const std::size_t n = schedule_.size();
  std::size_t i = below(n);
  for (std::size_t tries = 0; tries < n; ++tries, i = i + 1 < n ? i + 1 : 0) {
    const Key k = schedule_.event(i);
    if (k == 0 || Schedule::op_of(k) == Schedule::stage_of(k)) continue;
    const OpId stage = Schedule::stage_of(k);
    std::size_t last = i;
    while (last + 1 < n && Schedule::stage_of(schedule_.event(last + 1)) == stage) ++last;
    std::vector<OpId> ops;
    for (std::size_t j = last + 1; j-- > 0 && Schedule::stage_of(schedule_.event(j)) == stage;) {
      const OpId op = Schedule::op_of(schedule_.event(j));
      if (op != stage) ops.push_back(op);
    }
    for (OpId op : ops) {
      if (schedule_.may_remove(op, stage)) remove(op, stage);
    }
    return true;
  }
  return false;
}

void Search::anneal(std::int64_t work) {
  if (penalty_ <= 0) return;
  const auto per_move = static_cast<std::int64_t>(schedule_.size()) + 600;
  const std::int64_t moves = work / per_move;
  const double hot = unit_ * 0.3;
  const double cold = unit_ * 0.003;
  constexpr std::int64_t kWindow = 256;
  std::int64_t feasible_seen = 0;
  double now = energy();
  for (std::int64_t m = 0; m < moves; ++m) {
    const double temperature = hot * std::pow(cold / hot, static_cast<double>(m) / static_cast<double>(moves));
    journal_.clear();
    const double pick = uniform();
    const int missing = schedule_.missing();
    const bool tight = schedule_.overflow() > 0.5;
    bool changed = false;
    if (tight && pick < 0.5) {
      changed = relieve();
    } else if (pick < 0.65) {
      changed = swap();
    } else if (pick < 0.82) {
      changed = remove_random();
    } else if (pick < 0.97) {
      changed = shift();
    } else {
      changed = clear_stage();
    }
    const double then = energy();
    const bool accept =
        changed && schedule_.missing() <= missing && (then <= now || uniform() < std::exp((now - then) / temperature));
    if (accept) {
      now = then;
      keep_if_best();
    } else {
      undo(0);
    }
    feasible_seen += schedule_.overflow() <= 0.5;
    if ((m + 1) % kWindow == 0) {
      if (feasible_seen == 0) penalty_ *= 1.15;
      if (feasible_seen > kWindow * 3 / 4) penalty_ *= 0.95;
      feasible_seen = 0;
      now = energy();
    }
  }
  journal_.clear();
}

}  // namespace tidemark::scheduler
