#include "scheduler/place/first_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace tidemark::scheduler {

FirstFit::FirstFit(const Lifetimes& lifetimes) : lifetimes_(lifetimes) {}

// What has a given offset goes first.
std::vector<std::size_t> FirstFit::ordered(const std::vector<double>& keys) const {
  const auto& blocks = lifetimes_.blocks;
  std::vector<std::size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const bool given = blocks[a].given != kAnywhere;
    if (given != (blocks[b].given != kAnywhere)) return given;
    return keys[a] != keys[b] ? keys[a] > keys[b] : blocks[a].runs() > blocks[b].runs();
  });
  return order;
}

void FirstFit::take(const Taken& range) {
  const auto at = std::upper_bound(taken_.begin(), taken_.end(), range,
                                   [](const Taken& x, const Taken& y) { return x.offset < y.offset; });
  taken_.insert(at, range);
}

std::int64_t FirstFit::lowest(const Stay& stay, std::int64_t offset) {
  const std::int32_t from = 2 * stay.from;
  const std::int32_t to = 2 * stay.to;
  for (const Taken& t : taken_) {
    ++work_;
    if (t.from > to || t.to < from || t.end <= offset) continue;
    if (t.offset - offset >= stay.bytes) break;
    offset = t.end;
  }
  return offset;
}

std::int64_t FirstFit::lowest(const Block& block) {
  std::int64_t offset = 0;
  for (bool again = true; std::exchange(again, false);) {
    for (const Stay& s : block.stays) {
      const std::int64_t free = lowest(s, offset);
      again |= free > offset && block.stays.size() > 1;
      offset = free;
    }
  }
  return offset;
}

std::optional<Assignment> FirstFit::whole(Order order, std::int64_t& work) {
  std::vector<double> keys;
  for (const Block& block : lifetimes_.blocks) {
    const auto bytes = static_cast<double>(block.bytes());
    const double runs = block.runs();
    keys.push_back(order == Order::kBytes    ? bytes
                   : order == Order::kLength ? runs
                   : order == Order::kArea   ? bytes * runs
                                             : bytes * std::sqrt(runs));
  }
  taken_.clear();
  work_ = 0;
  Assignment result;
  result.offset.resize(lifetimes_.blocks.size());
  result.peak = 0;
  for (const std::size_t b : ordered(keys)) {
    const Block& block = lifetimes_.blocks[b];
    const std::int64_t offset = block.given != kAnywhere ? block.given : lowest(block);
    result.offset[b] = offset;
    result.peak = std::max(result.peak, offset + block.bytes());
    for (const Stay& s : block.stays) take({offset, offset + s.bytes, 2 * s.from, 2 * s.to});
    if (work_ > work) break;
  }
  const bool done = work_ <= work;
  work -= work_;
  if (!done) return std::nullopt;
  return result;
}

// Of the places that are free when `wanted` begins, the one that is free longest; `wanted` gives the bytes. An end
// before the beginning where there is none.
FirstFit::Taken FirstFit::longest(const Taken& wanted, std::int64_t limit) {
  const std::int64_t bytes = wanted.end - wanted.offset;
  near_.clear();
  for (const Taken& t : taken_) {
    if (t.from <= wanted.to && t.to >= wanted.from) near_.push_back(t);
  }
  work_ += static_cast<std::int64_t>(taken_.size());
  Taken best{0, 0, wanted.from, wanted.from - 1};
  const auto look_at = [&](std::int64_t offset) {
    std::int32_t to = wanted.to;
    for (const Taken& t : near_) {
      ++work_;
      if (t.offset >= offset + bytes) break;
      if (t.end > offset && t.from <= to) to = t.from - 1;
    }
    if (to > best.to) best = {offset, offset + bytes, wanted.from, to};
  };
  std::int64_t low = 0;
  for (std::size_t i = 0; i <= near_.size() && best.to < wanted.to && work_ <= most_work_; ++i) {
    if (i < near_.size() && near_[i].from > wanted.from) continue;  // not there yet
    const std::int64_t high = i < near_.size() ? near_[i].offset : limit;
    if (high - low >= bytes) {
      look_at(low);
      if (high - low > bytes) look_at(high - bytes);
      work_ += static_cast<std::int64_t>(near_.size());
      for (const Taken& later : near_) {
        if (later.from > wanted.from && later.end > low && later.end + bytes <= high) look_at(later.end);
      }
    }
    if (i < near_.size()) low = std::max(low, near_[i].end);
  }
  return best;
}

// False where the block fits nowhere at some time.
bool FirstFit::split(std::size_t b, std::int64_t limit, Assignment& assignment) {
  const Block& block = lifetimes_.blocks[b];
  const std::int64_t bytes = block.bytes();
  Taken rest{0, bytes, 2 * block.from(), 2 * block.to()};
  std::vector<Taken> pieces;
  for (;;) {
    Taken piece = longest(rest, limit);
    const bool last = piece.to == rest.to;
    if (!last) piece.to = piece.to % 2 == 0 ? piece.to - 1 : piece.to;  // it moves before a run
    if (!last && piece.to <= piece.from) return false;
    pieces.push_back(piece);
    if (last) break;
    take(piece);  // the next one lies beside it while it moves
    rest.from = piece.to;
  }
  take(pieces.back());
  assignment.offset[b] = pieces.front().offset;
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    const std::int32_t run = (pieces[i].from + 1) / 2;
    assignment.moves.push_back({run, static_cast<std::int32_t>(b), pieces[i].offset});
    assignment.moved_bytes += block.at(run).bytes;
  }
  for (const Taken& piece : pieces) assignment.peak = std::max(assignment.peak, piece.end);
  return true;
}

// The first block that fits nowhere.
std::optional<std::size_t> FirstFit::try_pieces(const std::vector<double>& keys, std::int64_t limit,
                                                Assignment& assignment) {
  taken_.clear();
  assignment = {};
  assignment.offset.resize(lifetimes_.blocks.size());
  assignment.peak = 0;
  for (const std::size_t b : ordered(keys)) {
    const Block& block = lifetimes_.blocks[b];
    const std::int64_t offset = block.given != kAnywhere ? block.given : lowest(block);
    if (offset + block.bytes() > limit) {
      if (block.given != kAnywhere || !split(b, limit, assignment) || work_ > most_work_) return b;
      continue;
    }
    assignment.offset[b] = offset;
    assignment.peak = std::max(assignment.peak, offset + block.bytes());
    for (const Stay& s : block.stays) take({offset, offset + s.bytes, 2 * s.from, 2 * s.to});
  }
  return std::nullopt;
}

std::optional<Assignment> FirstFit::in_pieces(std::int64_t limit, int tries, std::int64_t& work) {
  constexpr double kEarlier = 1.5;
  std::vector<double> keys;
  for (const Block& block : lifetimes_.blocks) keys.push_back(static_cast<double>(block.bytes()));
  std::optional<Assignment> result;
  work_ = 0;
  most_work_ = work;
  for (int i = 0; i < tries && work_ <= work; ++i) {
    Assignment assignment;
    const auto failed = try_pieces(keys, limit, assignment);
    if (!failed) {
      result = std::move(assignment);
      break;
    }
    keys[*failed] *= kEarlier;
  }
  work -= work_;
  return result;
}

}  // namespace tidemark::scheduler
