#include "scheduler/schedule.h"

#include <algorithm>

namespace tidemark::scheduler {

Schedule::Schedule(const Program& program, double room) : program_(program), room_(room) {
  occurrences_.resize(static_cast<std::size_t>(program.buffer_count));
  for (std::int64_t b : program.bytes) bytes_.push_back(static_cast<double>(b));
  for (OpId op = 0; op < program.op_count; ++op) {
    std::vector<BufferId> reads;
    for (BufferId b : program.reads[op]) {
      if (!program.pinned[b]) reads.push_back(b);
    }
    reads_.push_back(std::move(reads));
    double own = static_cast<double>(program.scratch[op]);
    for (BufferId b : program.writes[op]) own += bytes_[b];
    op_bytes_.push_back(own);
  }
  clear();
}

void Schedule::clear() {
  const OpId end = program_.op_count;
  keys_.assign(1, 0);
  for (auto& list : occurrences_) list.clear();
  extra_ = overflow_ = 0;
  missing_ = 0;
  for (BufferId b = 0; b < program_.buffer_count; ++b) {
    if (program_.at_start[b] && !program_.pinned[b]) occurrences_[b].push_back({0, true});
  }
  for (OpId op = program_.first_op; op < end; ++op) {
    const Key k = key(op, op);
    keys_.push_back(k);
    for (BufferId b : reads_[op]) occurrences_[b].push_back({k, false});
    for (BufferId b : program_.writes[op]) occurrences_[b].push_back({k, true});
  }
  keys_.push_back(key(end, end));
  for (BufferId b = 0; b < program_.buffer_count; ++b) {
    if (program_.kept[b] && !program_.pinned[b]) occurrences_[b].push_back({keys_.back(), false});
  }
  own_.assign(keys_.size(), 0);
  std::vector<double> change(keys_.size() + 1, 0);
  for (BufferId b = 0; b < program_.buffer_count; ++b) {
    const auto& list = occurrences_[b];
    if (!list.empty() && !list.front().produced) ++missing_;
    for (std::size_t i = 1; i < list.size(); ++i) {
      if (list[i].produced) continue;
      change[index(list[i - 1].key) + 1] += bytes_[b];
      change[index(list[i].key) + 1] -= bytes_[b];
    }
  }
  memory_.assign(keys_.size(), 0);
  double through = 0;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    through += change[i];
    const OpId op = op_of(keys_[i]);
    own_[i] = i > 0 && i + 1 < keys_.size() ? own_bytes(op, keys_[i]) : 0;
    memory_[i] = through + own_[i];
  }
  set_room(room_);
}

void Schedule::set_room(double room) {
  room_ = room;
  overflow_ = 0;
  for (double m : memory_) overflow_ += std::max(0.0, m - room_);
}

double Schedule::peak() const { return *std::max_element(memory_.begin(), memory_.end()); }

std::size_t Schedule::index(Key k) const {
  return static_cast<std::size_t>(std::lower_bound(keys_.begin(), keys_.end(), k) - keys_.begin());
}

std::size_t Schedule::find(BufferId b, Key k) const {
  const auto& list = occurrences_[b];
  std::size_t i = list.size();
  if (i <= 8) {
    std::size_t p = 0;
    while (p < i && list[p].key < k) ++p;
    return p;
  }
  return static_cast<std::size_t>(
      std::lower_bound(list.begin(), list.end(), k, [](const Occurrence& o, Key v) { return o.key < v; }) -
      list.begin());
}

const Schedule::Occurrence* Schedule::next(BufferId b, Key k) const {
  std::size_t p = find(b, k);
  const auto& list = occurrences_[b];
  if (p < list.size() && list[p].key == k) ++p;
  return p < list.size() ? &list[p] : nullptr;
}

const Schedule::Occurrence* Schedule::previous(BufferId b, Key k) const {
  const std::size_t p = find(b, k);
  return p > 0 ? &occurrences_[b][p - 1] : nullptr;
}

bool Schedule::live_across(BufferId b, Key k) const {
  const auto& list = occurrences_[b];
  const std::size_t p = find(b, k);
  return p > 0 && p < list.size() && list[p].key != k && !list[p].produced;
}

bool Schedule::live_before(BufferId b, Key k) const {
  const auto& list = occurrences_[b];
  const std::size_t p = find(b, k);
  return program_.pinned[b] || (p > 0 && p < list.size() && !list[p].produced);
}

bool Schedule::last_use(BufferId b, Key k) const {
  const Occurrence* after = next(b, k);
  return after == nullptr || after->produced;
}

bool Schedule::contains(OpId op, OpId stage) const {
  const Key k = key(op, stage);
  const std::size_t i = index(k);
  return i < keys_.size() && keys_[i] == k;
}

bool Schedule::may_add(OpId op, OpId stage) const {
  if (op >= stage || stage < program_.first_op || stage > program_.rerun_until[op] || contains(op, stage)) return false;
  const Key k = key(op, stage);
  for (BufferId b : reads_[op]) {
    if (previous(b, k) == nullptr) return false;
  }
  return true;
}

bool Schedule::may_remove(OpId op, OpId stage) const {
  const Key k = key(op, stage);
  for (BufferId b : program_.writes[op]) {
    if (previous(b, k) != nullptr) continue;
    const Occurrence* after = next(b, k);
    if (after != nullptr && !after->produced) return false;
  }
  return true;
}

void Schedule::shift(std::size_t first, std::size_t last, double bytes) {
  // Sizes are whole numbers, so the sums are exact in any order; four lanes let the compiler use vector registers.
  constexpr std::size_t kLanes = 4;
  double change[kLanes] = {};
  const double room = room_;
  double* memory = memory_.data();
  std::size_t i = first;
  for (; i + kLanes <= last; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double before = memory[i + lane] - room;
      const double after = before + bytes;
      memory[i + lane] += bytes;
      change[lane] += std::max(0.0, after) - std::max(0.0, before);
    }
  }
  for (; i < last; ++i) {
    const double before = memory[i] - room;
    memory[i] += bytes;
    change[0] += std::max(0.0, before + bytes) - std::max(0.0, before);
  }
  overflow_ += (change[0] + change[1]) + (change[2] + change[3]);
}

// Outputs and scratch, less what is written over reads that nobody needs any more.
double Schedule::own_bytes(OpId op, Key k) const {
  double own = op_bytes_[op];
  const auto& pairs = program_.overwrites[op];
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    bool used = !last_use(pairs[i].first, k);
    for (std::size_t j = 0; j < i && !used; ++j) {
      used = (pairs[j].first == pairs[i].first || pairs[j].second == pairs[i].second) && last_use(pairs[j].first, k);
    }
    if (!used) own -= bytes_[pairs[i].second];
  }
  return own;
}

void Schedule::refresh_own(Key k) {
  const OpId op = op_of(k);
  if (k == 0 || op >= program_.op_count || program_.overwrites[op].empty()) return;
  const std::size_t i = index(k);
  const double own = own_bytes(op, k);
  shift(i, i + 1, own - own_[i]);
  own_[i] = own;
}

void Schedule::insert_occurrence(BufferId b, std::size_t position, Key k, bool produced) {
  auto& list = occurrences_[b];
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(position), {k, produced});
}

void Schedule::add(OpId op, OpId stage) {
  const Key k = key(op, stage);
  const std::size_t i = index(k);
  const auto at = static_cast<std::ptrdiff_t>(i);
  const double through = memory_[i] - own_[i];
  keys_.insert(keys_.begin() + at, k);
  memory_.insert(memory_.begin() + at, through);
  own_.insert(own_.begin() + at, 0.0);
  overflow_ += std::max(0.0, through - room_);
  for (BufferId b : program_.writes[op]) {
    const std::size_t p = find(b, k);
    const auto& list = occurrences_[b];
    const bool used = p < list.size() && !list[p].produced;
    if (used && p > 0) shift(index(list[p - 1].key) + 1, i + 1, -bytes_[b]);
    if (used && p == 0) {
      shift(i + 1, index(list[p].key) + 1, bytes_[b]);
      --missing_;
    }
    insert_occurrence(b, p, k, true);
    if (p > 0) refresh_own(list[p - 1].key);
  }
  for (BufferId b : reads_[op]) {
    const std::size_t p = find(b, k);
    const auto& list = occurrences_[b];
    const bool live = p < list.size() && !list[p].produced;
    if (!live) shift(index(list[p - 1].key) + 1, i + 1, bytes_[b]);
    insert_occurrence(b, p, k, false);
    refresh_own(list[p - 1].key);
  }
  const double own = own_bytes(op, k);
  shift(i, i + 1, own);
  own_[i] = own;
  extra_ += program_.cost[op];
}

void Schedule::remove(OpId op, OpId stage) {
  const Key k = key(op, stage);
  const std::size_t i = index(k);
  shift(i, i + 1, -own_[i]);
  own_[i] = 0;
  for (BufferId b : reads_[op]) {
    const std::size_t p = find(b, k);
    auto& list = occurrences_[b];
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(p));
    const bool live = p < list.size() && !list[p].produced;
    if (!live) shift(index(list[p - 1].key) + 1, i + 1, -bytes_[b]);
    refresh_own(list[p - 1].key);
  }
  for (BufferId b : program_.writes[op]) {
    const std::size_t p = find(b, k);
    auto& list = occurrences_[b];
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(p));
    const bool used = p < list.size() && !list[p].produced;
    if (used && p > 0) shift(index(list[p - 1].key) + 1, i + 1, bytes_[b]);
    if (used && p == 0) {
      shift(i + 1, index(list[p].key) + 1, -bytes_[b]);
      ++missing_;
    }
    if (p > 0) refresh_own(list[p - 1].key);
  }
  const auto at = static_cast<std::ptrdiff_t>(i);
  overflow_ -= std::max(0.0, memory_[i] - room_);
  keys_.erase(keys_.begin() + at);
  memory_.erase(memory_.begin() + at);
  own_.erase(own_.begin() + at);
  extra_ -= program_.cost[op];
}

std::vector<Schedule::Key> Schedule::reruns() const {
  std::vector<Key> result;
  for (Key k : keys_) {
    if (k != 0 && op_of(k) != stage_of(k)) result.push_back(k);
  }
  return result;
}

}  // namespace tidemark::scheduler
