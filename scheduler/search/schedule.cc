#include "scheduler/search/schedule.h"

#include <algorithm>

namespace tidemark::scheduler {

Schedule::Schedule(const Program& program, double room) : program_(program) {
  profile_.clear(room);
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
  for (auto& list : occurrences_) list.clear();
  extra_ = 0;
  missing_ = 0;
  reruns_.clear();
  rerun_at_.clear();
  for (BufferId b = 0; b < program_.buffer_count; ++b) {
    if (program_.at_start[b] && !program_.pinned[b]) occurrences_[b].push_back({0, true});
  }
  for (OpId op = program_.first_op; op < end; ++op) {
    const Key k = key(op, op);
    for (BufferId b : reads_[op]) occurrences_[b].push_back({k, false});
    for (BufferId b : program_.writes[op]) occurrences_[b].push_back({k, true});
  }
  for (BufferId b = 0; b < program_.buffer_count; ++b) {
    if (program_.kept[b] && !program_.pinned[b]) occurrences_[b].push_back({key(end, end), false});
  }
  // Events: the start, each op, the end.
  const auto event = [&](Key k) {
    return k == 0 ? std::size_t{0} : static_cast<std::size_t>(stage_of(k) - program_.first_op) + 1;
  };
  const std::size_t events = static_cast<std::size_t>(end - program_.first_op) + 2;
  std::vector<double> change(events + 1, 0);
  for (BufferId b = 0; b < program_.buffer_count; ++b) {
    const auto& list = occurrences_[b];
    if (!list.empty() && !list.front().produced) ++missing_;
    for (std::size_t i = 1; i < list.size(); ++i) {
      if (list[i].produced) continue;
      change[event(list[i - 1].key) + 1] += bytes_[b];
      change[event(list[i].key) + 1] -= bytes_[b];
    }
  }
  profile_.clear(profile_.room());
  profile_.append(0, static_cast<double>(program_.start_bytes - program_.pinned_bytes), 0);
  double through = change[0];
  for (OpId op = program_.first_op; op <= end; ++op) {
    const Key k = key(op, op);
    through += change[event(k)];
    profile_.append(k, through, op < end ? own_bytes(op, k) : 0);
  }
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
  return op == stage ? op >= program_.first_op : rerun_at_.contains(key(op, stage));
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
  profile_.set_own(k, own_bytes(op, k));
}

void Schedule::insert_occurrence(BufferId b, std::size_t position, Key k, bool produced) {
  auto& list = occurrences_[b];
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(position), {k, produced});
}

void Schedule::add(OpId op, OpId stage) {
  const Key k = key(op, stage);
  profile_.insert(k, profile_.through(profile_.key(profile_.position(k))));
  for (BufferId b : program_.writes[op]) {
    const std::size_t p = find(b, k);
    const auto& list = occurrences_[b];
    const bool used = p < list.size() && !list[p].produced;
    if (used && p > 0) profile_.add_after(list[p - 1].key, k, -bytes_[b]);
    if (used && p == 0) {
      profile_.add_after(k, list[p].key, bytes_[b]);
      --missing_;
    }
    insert_occurrence(b, p, k, true);
    if (p > 0) refresh_own(list[p - 1].key);
  }
  for (BufferId b : reads_[op]) {
    const std::size_t p = find(b, k);
    const auto& list = occurrences_[b];
    const bool live = p < list.size() && !list[p].produced;
    if (!live) profile_.add_after(list[p - 1].key, k, bytes_[b]);
    insert_occurrence(b, p, k, false);
    refresh_own(list[p - 1].key);
  }
  profile_.set_own(k, own_bytes(op, k));
  extra_ += program_.cost[op];
  rerun_at_.emplace(k, reruns_.size());
  reruns_.push_back(k);
}

void Schedule::remove(OpId op, OpId stage) {
  const Key k = key(op, stage);
  profile_.set_own(k, 0);
  for (BufferId b : reads_[op]) {
    const std::size_t p = find(b, k);
    auto& list = occurrences_[b];
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(p));
    const bool live = p < list.size() && !list[p].produced;
    if (!live) profile_.add_after(list[p - 1].key, k, -bytes_[b]);
    refresh_own(list[p - 1].key);
  }
  for (BufferId b : program_.writes[op]) {
    const std::size_t p = find(b, k);
    auto& list = occurrences_[b];
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(p));
    const bool used = p < list.size() && !list[p].produced;
    if (used && p > 0) profile_.add_after(list[p - 1].key, k, bytes_[b]);
    if (used && p == 0) {
      profile_.add_after(k, list[p].key, -bytes_[b]);
      ++missing_;
    }
    if (p > 0) refresh_own(list[p - 1].key);
  }
  profile_.erase(k);
  extra_ -= program_.cost[op];
  const auto found = rerun_at_.find(k);
  const std::size_t at = found->second;
  rerun_at_.erase(found);
  if (at + 1 < reruns_.size()) {
    reruns_[at] = reruns_.back();
    rerun_at_[reruns_[at]] = at;
  }
  reruns_.pop_back();
}

}  // namespace tidemark::scheduler
