#include "scheduler/search/annealer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

namespace tidemark::scheduler {

using Key = Schedule::Key;

Annealer::Annealer(const Program& program, std::int64_t budget, std::uint64_t seed)
    : program_(program),
      schedule_(program, static_cast<double>(budget - program.pinned_bytes)),
      state_(seed * 0x9E3779B97F4A7C15U + 0x2545F4914F6CDD1DU),
      best_extra_(std::numeric_limits<double>::infinity()),
      seen_(static_cast<std::size_t>(program.op_count)) {
  mend();
  keep_if_best();
  journal_.clear();
  base_ = sorted_reruns();
}

std::uint64_t Annealer::random() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

void Annealer::add(OpId op, OpId stage) {
  schedule_.add(op, stage);
  journal_.push_back({true, op, stage});
}

void Annealer::remove(OpId op, OpId stage) {
  schedule_.remove(op, stage);
  journal_.push_back({false, op, stage});
}

void Annealer::undo(std::size_t size) {
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

void Annealer::load(std::span<const Key> reruns) {
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
void Annealer::mend() {
  if (schedule_.missing() == 0) return;
  for (BufferId b = 0; b < program_.buffer_count && schedule_.missing() > 0; ++b) {
    if (program_.pinned[b] || program_.producer[b] < 0) continue;
    const Schedule::Occurrence* first = schedule_.next(b, 0);
    if (first == nullptr || first->produced || schedule_.previous(b, first->key) != nullptr) continue;
    if (program_.at_start[b]) continue;
    add_with_ancestors(program_.producer[b], Schedule::stage_of(first->key), 0, 0, 0);
  }
}

// Whether a read that is not in memory at event k is rather kept from its last use on than computed again: at random
// with a chance, or by what the bytes cost in between as things are, with some noise.
bool Annealer::rather_keep(BufferId b, Key k, double chance) {
  if (chance != kWeigh) return uniform() >= chance;
  const auto bytes = static_cast<double>(program_.bytes[b]);
  const double more = schedule_.profile().overflow_change(schedule_.previous(b, k)->key, k, bytes, credit_);
  if (penalty_ * more * 2 * uniform() > program_.cost[program_.producer[b]]) return false;
  credit_ -= bytes;
  return true;
}

// Runs `op` again before `stage`; a read that is not in memory then is kept until then or computed again as well, and
// always computed again where it was never there. `pending` is the cost of the ops that wait for this one.
bool Annealer::add_with_ancestors(OpId op, OpId stage, double chance, double pending, int depth) {
  if (stage > program_.rerun_until[op] || op >= stage) return false;
  const Key k = Schedule::key(op, stage);
  if (schedule_.contains(op, stage)) return true;
  pending += program_.cost[op];
  given_up_ = schedule_.extra() + floor_ + pending > limit_;
  if (given_up_) return false;
  for (BufferId b : program_.reads[op]) {
    if (schedule_.live_before(b, k)) continue;
    const OpId producer = program_.producer[b];
    const bool must = schedule_.previous(b, k) == nullptr;
    if (must && producer < 0) return false;
    if (producer < 0 || stage > program_.rerun_until[producer] || schedule_.contains(producer, stage)) continue;
    if (!must && (depth > 64 || rather_keep(b, k, chance))) continue;
    if (!add_with_ancestors(producer, stage, chance, pending, depth + 1) && (must || given_up_)) return false;
  }
  if (!schedule_.may_add(op, stage)) return false;
  add(op, stage);
  return true;
}

// Nothing reads an output of this run before it is written again.
bool Annealer::idle(OpId op, OpId stage) const {
  const Key k = Schedule::key(op, stage);
  for (BufferId b : program_.writes[op]) {
    if (!schedule_.last_use(b, k)) return false;
  }
  return true;
}

void Annealer::remove_with_idle(OpId op, OpId stage) {
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

void Annealer::keep_if_best() {
  log_.clear();
  best_logged_ = walk_logged_ = kNotLogged;
  note_best();
  if (best_logged_ == kNotLogged && walk_logged_ == kNotLogged) return;
  log_base_ = sorted_reruns();
  end_log();
}

// The schedule is the log's base and all of its changes.
void Annealer::note_best() {
  if (schedule_.missing() > 0 || schedule_.overflow() > 0.5) return;
  const double extra = schedule_.extra();
  if (extra < walk_extra_ * (1 - 1e-12)) {
    walk_extra_ = extra;
    walk_logged_ = log_.size();
  }
  if (feasible_ && extra >= best_extra_ * (1 - 1e-12)) return;
  feasible_ = true;
  best_extra_ = extra;
  best_logged_ = log_.size();
}

void Annealer::begin_log() {
  log_base_ = sorted_reruns();
  log_.clear();
  best_logged_ = walk_logged_ = kNotLogged;
}

// The bests that the log holds as sorted copies.
void Annealer::end_log() {
  if (walk_logged_ != kNotLogged) walk_best_ = logged(walk_logged_);
  if (best_logged_ != kNotLogged) best_ = best_logged_ == walk_logged_ ? walk_best_ : logged(best_logged_);
}

std::vector<Key> Annealer::logged(std::size_t size) const {
  std::vector<std::pair<Key, std::size_t>> changes;
  for (std::size_t i = 0; i < size; ++i) changes.emplace_back(Schedule::key(log_[i].op, log_[i].stage), i);
  std::sort(changes.begin(), changes.end());
  std::vector<Key> result;
  auto base = log_base_.begin();
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const auto [k, change] = changes[i];
    if (i + 1 < changes.size() && changes[i + 1].first == k) continue;
    const auto at = std::lower_bound(base, log_base_.end(), k);
    result.insert(result.end(), base, at);
    base = at == log_base_.end() || *at != k ? at : at + 1;
    if (log_[change].added) result.push_back(k);
  }
  result.insert(result.end(), base, log_base_.end());
  return result;
}

std::vector<Key> Annealer::sorted_reruns() const {
  std::vector<Key> result = schedule_.reruns();
  std::sort(result.begin(), result.end());
  return result;
}

// Forgets the best plan, which was for another room.
void Annealer::aim(double room) {
  schedule_.set_room(room);
  feasible_ = false;
  best_extra_ = std::numeric_limits<double>::infinity();
  keep_if_best();
}

void Annealer::tighten(std::int64_t budget) {
  if (penalty_ <= 0) {
    schedule_.set_room(static_cast<double>(budget - program_.pinned_bytes));
    unit_ =
        std::max(best_extra_ / static_cast<double>(std::max<std::size_t>(1, best_.size())), program_.base_cost * 1e-4);
    penalty_ = unit_ / std::max(1.0, schedule_.overflow());
  }
  aim(static_cast<double>(budget - program_.pinned_bytes));
}

// Each step begins from a schedule that fits in a little more, and ends with the first that fits. Steps are parts of
// what is left above the least; where one fails, the next are half as long.
void Annealer::squeeze(std::int64_t least, std::int64_t enough, std::int64_t work) {
  constexpr double kLongest = 0.05;
  constexpr double kShortest = 0.002;
  constexpr double kHeat = 0.2;
  const auto floor = static_cast<double>(least - program_.pinned_bytes);
  const double last = std::max(floor, static_cast<double>(enough - program_.pinned_bytes));
  const std::int64_t first = schedule_.work();
  std::vector<Key> fits = sorted_reruns();
  double fit = schedule_.peak();
  unit_ = program_.base_cost / static_cast<double>(program_.op_count - program_.first_op);
  for (double step = kLongest; step > kShortest && fit > last;) {
    const std::int64_t left = work - (schedule_.work() - first);
    if (left <= 0) break;
    aim(std::max(floor, std::floor(fit - std::max(1.0, (fit - floor) * step))));
    if (schedule_.overflow() > 0.5) penalty_ = std::max(penalty_, 20 * unit_ / schedule_.overflow());
    if (!feasible_) anneal(std::min(left, work / 10), kHeat, true);
    if (feasible_) {
      load(best_);
      fits = best_;
      fit = schedule_.peak();
    } else {
      step /= 2;
      load(fits);
    }
  }
  aim(fit);
}

// Runs `op` again with every read that the choice does not keep.
bool Annealer::add_as_chosen(OpId op, OpId stage, const InstantBound::Choice& choice) {
  std::vector<OpId> stack{op};
  std::vector<OpId> order;
  ++visit_;
  while (!stack.empty()) {
    const OpId top = stack.back();
    stack.pop_back();
    if (stage > program_.rerun_until[top] || schedule_.contains(top, stage)) continue;
    if (std::exchange(seen_[static_cast<std::size_t>(top)], visit_) == visit_) continue;
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

// By the time of the next use: what an early rerun brings along is there for later ones. With more than one group, the
// reruns of a later group are there first, so that an earlier group drops at once what it brings along from them: less
// memory, and more reruns.
void Annealer::carry_out(const InstantBound::Choice& choice, OpId instant, std::size_t groups) {
  const Key k = Schedule::key(instant, instant);
  std::vector<std::pair<OpId, OpId>> due;
  for (OpId op = 0; op < program_.op_count; ++op) {
    if (!choice.reruns[op]) continue;
    OpId stage = program_.op_count + 1;
    for (BufferId b : program_.writes[op]) {
      if (!choice.stays[b] && schedule_.live_across(b, k))
        stage = std::min(stage, Schedule::stage_of(schedule_.next(b, k)->key));
    }
    if (stage <= program_.op_count) due.emplace_back(stage, op);
  }
  std::sort(due.begin(), due.end());
  for (std::size_t group = groups; group-- > 0;) {
    const std::size_t last = due.size() * (group + 1) / groups;
    for (std::size_t i = due.size() * group / groups; i < last; ++i) {
      const auto out = program_.writes[due[i].second];
      if (std::any_of(out.begin(), out.end(), [&](BufferId b) { return schedule_.live_across(b, k); })) {
        add_as_chosen(due[i].second, due[i].first, choice);
      }
    }
  }
}

void Annealer::warm_start(InstantBound& at_instant, OpId instant, std::int64_t work) {
  constexpr int kTargets = 12;
  constexpr double kStep = 0.06;  // each is so much of the room below the last
  const auto room = static_cast<double>(static_cast<std::int64_t>(schedule_.room()) + program_.pinned_bytes);
  load(base_);
  const double overflow = schedule_.overflow();
  std::vector<Key> best = base_;
  double least = penalty_ > 0 ? energy() : std::numeric_limits<double>::infinity();
  const std::int64_t first = at_instant.work();
  for (const std::size_t groups : {1U, 3U, 9U}) {
    for (int target = 0; target < kTargets; ++target) {
      if (penalty_ > 0 && at_instant.work() - first > work) break;
      InstantBound::Choice choice;
      at_instant.bound(static_cast<std::int64_t>(room * (1 - kStep * target)), &choice);
      if (choice.reruns.empty()) break;
      if (penalty_ <= 0) {
        const auto count = std::max<std::ptrdiff_t>(1, std::count(choice.reruns.begin(), choice.reruns.end(), 1));
        unit_ = std::max(choice.cost / static_cast<double>(count), program_.base_cost * 1e-9);
        penalty_ = 20 * std::max(choice.cost, unit_) / std::max(1.0, overflow);
        least = energy();
      }
      load(base_);
      carry_out(choice, instant, groups);
      keep_if_best();
      if (energy() < least) {
        least = energy();
        best = sorted_reruns();
      }
      if (schedule_.overflow() <= 0) break;
    }
  }
  load(best);
}

void Annealer::cold_start() { load(base_); }

// Recomputes something that lies idle over an instant above the room: of a few, the one that costs least a byte, with
// what it reads and would not find.
bool Annealer::relieve() {
  if (schedule_.overflow() <= 0.5) return false;
  const Profile& profile = schedule_.profile();
  const Profile::Position at = profile.above_room(profile.any(random()));
  if (profile.end(at)) return false;
  const Key k = profile.key(at);
  const auto buffers = static_cast<std::size_t>(program_.buffer_count);
  BufferId best = -1;
  double least = 0;
  int found = 1 + static_cast<int>(below(5));
  for (int tries = 0; tries < 40 && found > 0; ++tries) {
    const auto b = static_cast<BufferId>(below(buffers));
    const OpId producer = program_.producer[b];
    if (producer < 0 || program_.bytes[b] == 0 || !schedule_.live_across(b, k)) continue;
    --found;
    double cost = program_.cost[producer];
    const Key use = schedule_.next(b, k)->key;
    for (BufferId read : program_.reads[producer]) {
      const OpId above = program_.producer[read];
      if (above >= 0 && !schedule_.live_before(read, use)) cost += program_.cost[above];
    }
    const double rate = cost / static_cast<double>(program_.bytes[b]);
    if (best >= 0 && rate >= least) continue;
    best = b;
    least = rate;
  }
  if (best < 0) return false;
  const Key use = schedule_.next(best, k)->key;
  credit_ = static_cast<double>(program_.bytes[best]);
  floor_ =
      penalty_ * (schedule_.overflow() + profile.overflow_change(schedule_.previous(best, k)->key, use, -credit_, 0));
  return add_with_ancestors(program_.producer[best], Schedule::stage_of(use), chance_or_weigh(0.9), 0, 0);
}

Schedule::Key Annealer::random_rerun() {
  const auto& reruns = schedule_.reruns();
  return reruns.empty() ? 0 : reruns[below(reruns.size())];
}

bool Annealer::remove_random() {
  Key k = random_rerun();
  if (k == 0) return false;
  for (int n = static_cast<int>(below(3)); n > 0; --n) {
    const Key other = random_rerun();
    if (program_.cost[Schedule::op_of(other)] > program_.cost[Schedule::op_of(k)]) k = other;
  }
  const std::size_t before = journal_.size();
  remove_with_idle(Schedule::op_of(k), Schedule::stage_of(k));
  return journal_.size() > before;
}

bool Annealer::swap() {
  if (!remove_random()) return false;
  for (int i = 0; i < 3 && schedule_.overflow() > 0.5 && schedule_.extra() <= limit_; ++i) relieve();
  return true;
}

// Moves a rerun to another stage where something of its neighbourhood happens.
bool Annealer::shift() {
  const Key k = random_rerun();
  if (k == 0) return false;
  const OpId op = Schedule::op_of(k);
  const OpId stage = Schedule::stage_of(k);
  const auto writes = program_.writes[op];
  if (writes.empty()) return false;
  const BufferId b = writes[below(writes.size())];
  const Schedule::Occurrence* other = uniform() < 0.5 ? schedule_.next(b, k) : schedule_.previous(b, k);
  const bool beside = other != nullptr && other->key != 0 && uniform() < 0.7;
  const OpId to = beside ? Schedule::stage_of(other->key) : stage + static_cast<OpId>(below(9)) - 4;
  if (to == stage || to < program_.first_op || to > program_.op_count) return false;
  if (schedule_.contains(op, to) || to <= op || to > program_.rerun_until[op]) return false;
  if (!schedule_.may_remove(op, stage)) return false;
  remove(op, stage);
  credit_ = 0;
  floor_ = 0;
  return add_with_ancestors(op, to, chance_or_weigh(0.3), 0, 0);
}

// Takes away the reruns of a whole stage, the last first.
bool Annealer::clear_stage() {
  const Key k = random_rerun();
  if (k == 0) return false;
  const OpId stage = Schedule::stage_of(k);
  const Profile& profile = schedule_.profile();
  std::vector<OpId> ops;
  for (Profile::Position p = profile.position(Schedule::key(0, stage)); !profile.end(p); p = profile.next(p)) {
    const OpId op = Schedule::op_of(profile.key(p));
    if (op == stage || Schedule::stage_of(profile.key(p)) != stage) break;
    ops.push_back(op);
  }
  for (std::size_t i = ops.size(); i-- > 0;) {
    if (schedule_.may_remove(ops[i], stage)) remove(ops[i], stage);
  }
  return true;
}

void Annealer::anneal(std::int64_t work, double heat, bool until_feasible) {
  if (penalty_ <= 0) return;
  constexpr double kCold = 0.03;  // at last, in costs of a typical rerun
  constexpr std::int64_t kPerMove = 600;
  constexpr std::size_t kLongLog = 1000;
  constexpr std::int64_t kWindow = 64;
  const std::int64_t first = schedule_.work();
  std::int64_t feasible_seen = 0;
  double now = energy();
  double temperature = unit_ * heat;
  begin_log();
  for (std::int64_t m = 0;; ++m) {
    if (m % 16 == 0) {
      const std::int64_t spent = schedule_.work() - first + m * kPerMove;
      if (spent >= work) break;
      temperature = unit_ * heat * std::pow(kCold / heat, static_cast<double>(spent) / static_cast<double>(work));
    }
    journal_.clear();
    limit_ = now - temperature * std::log(std::max(uniform(), 1e-300));
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
    if (changed && schedule_.missing() <= missing && then <= limit_) {
      now = then;
      log_.insert(log_.end(), journal_.begin(), journal_.end());
      note_best();
      if (until_feasible && feasible_) break;
      if (log_.size() > kLongLog + schedule_.reruns().size()) {
        end_log();
        begin_log();
      }
    } else {
      undo(0);
    }
    feasible_seen += schedule_.overflow() <= 0.5;
    if ((m + 1) % kWindow == 0) {
      if (feasible_seen == 0) penalty_ *= 1.15;
      if (feasible_seen > kWindow * 3 / 4) penalty_ *= 0.97;
      feasible_seen = 0;
      now = energy();
    }
  }
  end_log();
  limit_ = std::numeric_limits<double>::infinity();
  journal_.clear();
  if (!walk_best_.empty()) walks_.push_back(std::exchange(walk_best_, {}));
  walk_extra_ = std::numeric_limits<double>::infinity();
}

// Takes each run of stages from each of the walks' bests in place of the best plan's own.
void Annealer::cross_walks() {
  constexpr std::size_t kParts = 12;
  for (const std::vector<Key>& other : walks_) {
    std::vector<Key> gone;
    std::vector<Key> come;
    std::set_difference(best_.begin(), best_.end(), other.begin(), other.end(), std::back_inserter(gone));
    std::set_difference(other.begin(), other.end(), best_.begin(), best_.end(), std::back_inserter(come));
    std::vector<OpId> stages;
    for (const auto* keys : {&gone, &come}) {
      for (Key k : *keys) stages.push_back(Schedule::stage_of(k));
    }
    std::sort(stages.begin(), stages.end());
    stages.erase(std::unique(stages.begin(), stages.end()), stages.end());
    const std::size_t parts = std::min(kParts, stages.size());
    const std::vector<Key> from = best_;
    for (std::size_t first = 0; first < parts; ++first) {
      load(from);
      for (std::size_t part = first; part < parts; ++part) {
        const OpId begin = stages[part * stages.size() / parts];
        const std::size_t next = (part + 1) * stages.size() / parts;
        const OpId end = next < stages.size() ? stages[next] : program_.op_count + 1;
        const auto each = [&](const std::vector<Key>& keys, auto change) {
          const auto at = std::lower_bound(keys.begin(), keys.end(), Schedule::key(-1, begin));
          for (auto k = at; k != keys.end() && Schedule::stage_of(*k) < end; ++k) {
            change(Schedule::op_of(*k), Schedule::stage_of(*k));
          }
        };
        each(come, [&](OpId op, OpId stage) {
          if (schedule_.may_add(op, stage)) schedule_.add(op, stage);
        });
        each(gone, [&](OpId op, OpId stage) {
          if (schedule_.may_remove(op, stage)) schedule_.remove(op, stage);
        });
        keep_if_best();
      }
    }
  }
  walks_.clear();
}

}  // namespace tidemark::scheduler
