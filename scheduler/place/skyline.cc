#include "scheduler/place/skyline.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace tidemark::scheduler {
namespace {

constexpr std::int64_t kHigh = std::numeric_limits<std::int64_t>::max() / 4;

std::size_t index(std::int32_t i) { return static_cast<std::size_t>(i); }

}  // namespace

Skyline::Skyline(const Lifetimes& lifetimes) : lifetimes_(lifetimes) {
  starting_.resize(index(lifetimes.runs));
  ground_.assign(index(lifetimes.runs), 0);
  for (std::size_t b = 0; b < lifetimes.blocks.size(); ++b) {
    const Block& block = lifetimes.blocks[b];
    double area = 0;
    for (const Stay& s : block.stays) area += static_cast<double>(s.bytes) * (s.to - s.from + 1);
    area_.push_back(area);
    if (block.given < 0) {
      starting_[index(block.from())].push_back(static_cast<std::int32_t>(b));
      ++free_;
      continue;
    }
    for (const Stay& s : block.stays) {
      for (std::int32_t run = s.from; run <= s.to; ++run) {
        ground_[index(run)] = std::max(ground_[index(run)], block.given + s.bytes);
      }
    }
  }
  for (auto& list : starting_) {
    std::stable_sort(list.begin(), list.end(), [&](std::int32_t a, std::int32_t b) {
      const Block& x = lifetimes.blocks[index(a)];
      const Block& y = lifetimes.blocks[index(b)];
      return x.to() != y.to() ? x.to() > y.to() : area_[index(a)] > area_[index(b)];
    });
  }
}

void Skyline::begin() {
  segments_.clear();
  for (std::int32_t run = 0; run < lifetimes_.runs; ++run) {
    if (segments_.empty() || segments_.back().height != ground_[index(run)]) {
      segments_.push_back({run, run, ground_[index(run)]});
    }
    segments_.back().to = run;
  }
  placed_.assign(lifetimes_.blocks.size(), 0);
  offset_.assign(lifetimes_.blocks.size(), 0);
  for (std::size_t b = 0; b < offset_.size(); ++b) offset_[b] = std::max<std::int64_t>(lifetimes_.blocks[b].given, 0);
  left_ = free_;
}

std::int64_t Skyline::left_side(std::size_t valley) const { return valley > 0 ? segments_[valley - 1].height : kHigh; }

std::int64_t Skyline::right_side(std::size_t valley) const {
  return valley + 1 < segments_.size() ? segments_[valley + 1].height : kHigh;
}

// Segments of one height become one, from `first` on to before `last`.
void Skyline::join(std::size_t first, std::size_t last) {
  for (std::size_t i = first; i + 1 < segments_.size() && i < last;) {
    if (segments_[i].height != segments_[i + 1].height) {
      ++i;
      continue;
    }
    segments_[i].to = segments_[i + 1].to;
    segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    --last;
  }
}

void Skyline::raise(std::size_t valley, std::int64_t height) {
  segments_[valley].height = height;
  join(valley > 0 ? valley - 1 : 0, valley + 1);
}

void Skyline::put(std::size_t valley, std::int32_t b, std::int64_t raise) {
  const Segment ground = segments_[valley];
  const Block& block = lifetimes_.blocks[index(b)];
  placed_[index(b)] = 1;
  offset_[index(b)] = ground.height;
  --left_;
  std::vector<Segment> parts;
  if (block.from() > ground.from) parts.push_back({ground.from, block.from() - 1, ground.height + raise});
  for (const Stay& s : block.stays) parts.push_back({s.from, s.to, ground.height + s.bytes});
  if (block.to() < ground.to) parts.push_back({block.to() + 1, ground.to, ground.height});
  const auto at = segments_.begin() + static_cast<std::ptrdiff_t>(valley);
  *at = parts.front();
  segments_.insert(at + 1, parts.begin() + 1, parts.end());
  join(valley > 0 ? valley - 1 : 0, valley + parts.size());
}

// The next run, from `run` on, where a block that is not placed begins.
std::int32_t Skyline::first_waiting(std::int32_t run) {
  const auto waits = [&](std::int32_t r) {
    const auto& list = starting_[index(r)];
    return std::any_of(list.begin(), list.end(), [&](std::int32_t b) { return !placed_[index(b)]; });
  };
  std::int32_t found = run;
  for (;; ++work_) {
    if (waiting_[index(found)] != found) {
      found = waiting_[index(found)];
    } else if (found < lifetimes_.runs && !waits(found)) {
      waiting_[index(found)] = found + 1;
    } else {
      break;
    }
  }
  while (run < found) run = std::exchange(waiting_[index(run)], found);
  return found;
}

std::int32_t Skyline::choose(std::size_t valley, Rule rule) {
  const Segment& ground = segments_[valley];
  std::int32_t best = -1;
  double most = -1;
  for (std::int32_t run = first_waiting(ground.from); run <= ground.to; run = first_waiting(run + 1)) {
    for (const std::int32_t b : starting_[index(run)]) {
      ++work_;
      const Block& block = lifetimes_.blocks[index(b)];
      if (placed_[index(b)] || block.to() > ground.to) continue;
      if (rule == Rule::kFirst) return b;
      double key = area_[index(b)];
      if (run == ground.from) key *= ground.height + block.stays.front().bytes == left_side(valley) ? 4 : 2;
      if (block.to() == ground.to) key *= ground.height + block.stays.back().bytes == right_side(valley) ? 4 : 2;
      if (key > most) {
        most = key;
        best = b;
      }
    }
  }
  return best;
}

std::optional<std::vector<std::int64_t>> Skyline::fill(Rule rule, std::int64_t& work) {
  begin();
  waiting_.resize(index(lifetimes_.runs) + 1);
  for (std::int32_t run = 0; run <= lifetimes_.runs; ++run) waiting_[index(run)] = run;
  work_ = 0;
  while (left_ > 0 && work_ <= work) {
    const auto lowest = std::min_element(segments_.begin(), segments_.end(),
                                         [](const Segment& a, const Segment& b) { return a.height < b.height; });
    const auto valley = static_cast<std::size_t>(lowest - segments_.begin());
    work_ += static_cast<std::int64_t>(segments_.size() / 4) + 8;
    if (const std::int32_t block = choose(valley, rule); block >= 0) {
      put(valley, block, 0);
    } else {
      raise(valley, std::min(left_side(valley), right_side(valley)));
    }
  }
  work -= work_;
  if (left_ > 0) return std::nullopt;
  return offset_;
}

// In every filling where no block can sink, the next block of a valley lies on its ground, and what is before it there
// stays empty up to the left side or the block's own height; or none does, and all of it stays empty. What leaves
// nothing empty comes first.
void Skyline::list_choices(std::size_t valley, std::vector<Choice>& choices) {
  constexpr double kWaste = 3;
  choices.clear();
  const Segment& ground = segments_[valley];
  const std::int64_t left = left_side(valley);
  const std::int64_t right = right_side(valley);
  std::int64_t spare = kHigh;  // of the runs before
  for (std::int32_t run = ground.from; run <= ground.to; ++run) {
    ++work_;
    for (const std::int32_t b : starting_[index(run)]) {
      ++work_;
      const Block& block = lifetimes_.blocks[index(b)];
      if (placed_[index(b)] || block.to() > ground.to) continue;
      const std::int64_t first = block.stays.front().bytes;
      const std::int64_t raise = run == ground.from ? 0 : std::min(left - ground.height, first);
      if (raise > 0 && raise > spare) continue;
      double key = area_[index(b)];
      if (run == ground.from && ground.height + first == left) key *= 1.5;
      if (block.to() == ground.to) key *= ground.height + block.stays.back().bytes == right ? 2.25 : 1.5;
      const double noise = static_cast<double>(random_() >> 11) * 0x1.0p-52 - 1;
      key = std::sqrt(key) * (1 + noise_ * noise);
      choices.push_back({b, raise, key - kWaste * static_cast<double>(raise) * (run - ground.from)});
    }
    spare = std::min(spare, spare_[index(run)]);
    if (spare == 0) break;
  }
  std::stable_sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) { return a.key > b.key; });
  const std::int64_t all = std::min(left, right) - ground.height;
  if (all <= spare) choices.push_back({-1, all, 0});
}

// The valley with the fewest choices, and these.
std::size_t Skyline::narrowest(std::vector<Choice>& choices) {
  std::size_t valley = segments_.size();
  std::vector<Choice> here;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    ++work_;
    if (segments_[i].height > left_side(i) || segments_[i].height > right_side(i)) continue;
    list_choices(i, here);
    if (valley < segments_.size() && here.size() >= choices.size()) continue;
    choices.swap(here);
    valley = i;
    if (choices.size() <= 1) break;
  }
  return valley;
}

void Skyline::spend(std::int32_t from, std::int32_t to, std::int64_t bytes) {
  if (from > to || bytes == 0) return;
  for (std::int32_t run = from; run <= to; ++run) spare_[index(run)] -= bytes;
  work_ += to - from;
  undo_.push_back({-1, from, to, bytes});
}

void Skyline::take(const Branch& branch, const Choice& choice) {
  const Segment& ground = segments_[branch.valley];
  if (choice.block < 0) {
    spend(ground.from, ground.to, choice.raise);
    raise(branch.valley, ground.height + choice.raise);
    return;
  }
  const Block& block = lifetimes_.blocks[index(choice.block)];
  spend(ground.from, block.from() - 1, choice.raise);
  // Above a block that gets smaller, its earlier part stands higher: nothing is lost by that.
  put(branch.valley, choice.block, choice.raise);
  undo_.push_back({choice.block, 0, 0, 0});
}

void Skyline::take_back(std::size_t size) {
  for (; undo_.size() > size; undo_.pop_back()) {
    const Undo& u = undo_.back();
    if (u.block >= 0) {
      placed_[index(u.block)] = 0;
    } else {
      for (std::int32_t run = u.from; run <= u.to; ++run) spare_[index(run)] += u.bytes;
    }
  }
}

std::optional<std::vector<std::int64_t>> Skyline::fill_below(std::int64_t limit, std::int64_t most_choices,
                                                             std::uint64_t seed, std::int64_t& work) {
  begin();
  random_.seed(seed);
  noise_ = seed == 0 ? 0 : 0.8;
  undo_.clear();
  work_ = 0;
  spare_.assign(ground_.size(), 0);
  for (std::size_t run = 0; run < ground_.size(); ++run) spare_[run] = limit - ground_[run];
  for (const Block& block : lifetimes_.blocks) {
    if (block.given >= 0) continue;
    for (const Stay& s : block.stays) {
      for (std::int32_t run = s.from; run <= s.to; ++run) spare_[index(run)] -= s.bytes;
    }
  }
  if (std::any_of(spare_.begin(), spare_.end(), [](std::int64_t s) { return s < 0; })) return std::nullopt;
  std::vector<Branch> branches;
  std::int64_t choices_made = 0;
  while (left_ > 0 && choices_made < most_choices && work_ <= work) {
    Branch next;
    next.valley = narrowest(next.choices);
    if (next.choices.empty()) {
      while (!branches.empty() && branches.back().next == branches.back().choices.size()) branches.pop_back();
      if (branches.empty()) break;
      Branch& last = branches.back();
      take_back(last.undo);
      left_ = last.left;
      segments_ = last.segments;
    } else {
      next.undo = undo_.size();
      next.left = left_;
      if (next.choices.size() > 1) next.segments = segments_;
      branches.push_back(std::move(next));
    }
    Branch& branch = branches.back();
    ++choices_made;
    const Choice choice = branch.choices[branch.next++];
    take(branch, choice);
  }
  work -= work_;
  if (left_ > 0) return std::nullopt;
  return offset_;
}

}  // namespace tidemark::scheduler
