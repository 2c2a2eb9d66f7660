#include "scheduler/place/offsets.h"

#include <algorithm>
#include <utility>

#include "scheduler/place/skyline.h"

namespace tidemark::scheduler {
namespace {

using Order = FirstFit::Order;
using Rule = Skyline::Rule;

// Ranges and runs looked at: by each order and filling, by tight fillings, and for pieces.
constexpr std::int64_t kAttemptWork = 30'000'000;
constexpr std::int64_t kTightWork = 4'000'000;
constexpr std::int64_t kTightWorkOfBlock = 8'000;
constexpr std::size_t kMostTight = 2'000;
constexpr std::int64_t kPiecesWork = 20'000'000;
constexpr int kTries = 8;
constexpr std::int64_t kEnough = 200;  // the part of what is live that a peak may be above it, and not be searched for

class Chooser {
 public:
  Chooser(const Lifetimes& lifetimes, std::int64_t limit)
      : lifetimes_(lifetimes),
        reversed_(lifetimes.reversed()),
        first_fit_(lifetimes),
        forward_(lifetimes),
        backward_(reversed_),
        limit_(limit),
        floor_(std::max(lifetimes.live_peak, lifetimes.given_end)),
        enough_(std::min(limit, floor_ + lifetimes.live_peak / kEnough)) {}

  std::optional<Assignment> choose() {
    for (const Rule rule : {Rule::kFirst, Rule::kLargest}) {
      for (Skyline* skyline : {&forward_, &backward_}) {
        if (best_.peak > floor_) attempt([&](std::int64_t& work) { return skyline->fill(rule, work); });
      }
    }
    for (const Order order : {Order::kBytes, Order::kLength, Order::kArea, Order::kBytesByRootOfLength}) {
      if (best_.peak > enough_) attempt([&](std::int64_t& work) { return first_fit_.whole(order, work); });
    }
    fill_tightly();
    if (best_.peak <= limit_) return std::move(best_);
    std::int64_t work = kPiecesWork;
    return first_fit_.in_pieces(limit_, kTries, work);
  }

 private:
  void note(std::optional<Assignment> found) {
    if (found && found->peak < best_.peak) best_ = *std::move(found);
  }

  void note(std::optional<std::vector<std::int64_t>> offsets) {
    if (!offsets) return;
    Assignment found;
    found.peak = 0;
    for (std::size_t b = 0; b < offsets->size(); ++b) {
      found.peak = std::max(found.peak, (*offsets)[b] + lifetimes_.blocks[b].bytes());
    }
    found.offset = *std::move(offsets);
    note(std::optional(std::move(found)));
  }

  template <class Find>
  void attempt(const Find& find) {
    std::int64_t work = kAttemptWork;
    note(find(work));
  }

  // Below what is live at the peak, a little above it, and the limit, in turns.
  void fill_tightly() {
    const std::size_t size = lifetimes_.blocks.size();
    const auto most_choices = static_cast<std::int64_t>(3 * size + 500);
    std::int64_t work = kTightWork + kTightWorkOfBlock * static_cast<std::int64_t>(std::min(size, kMostTight));
    for (std::uint64_t seed = 0; best_.peak > enough_ && floor_ <= limit_ && work > 0; ++seed) {
      const std::int64_t before = work;
      for (const std::int64_t target : {floor_, enough_, limit_}) {
        for (Skyline* skyline : {&forward_, &backward_}) {
          if (best_.peak > target && work > 0) note(skyline->fill_below(target, most_choices, seed, work));
        }
      }
      if (work == before) break;  // what is live does not fit
    }
  }

  const Lifetimes& lifetimes_;
  const Lifetimes reversed_;
  FirstFit first_fit_;
  Skyline forward_;
  Skyline backward_;
  const std::int64_t limit_;
  const std::int64_t floor_;  // no peak is lower
  const std::int64_t enough_;
  Assignment best_;
};

}  // namespace

std::optional<Assignment> choose_offsets(const Lifetimes& lifetimes, std::int64_t limit) {
  return Chooser(lifetimes, limit).choose();
}

}  // namespace tidemark::scheduler
