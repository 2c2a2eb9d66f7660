#include "scheduler/bound/whole_buffers.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace tidemark::scheduler {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr int kMostPrices = 8;

// A part of all choices: those with these ops forced. No choice in it that fits costs less than `bound`.
struct Part {
  double bound = 0;
  double price = 0;
  OpId split = -1;  // -1: `bound` is reached, or no op divides the part further
  std::vector<std::pair<OpId, InstantBound::Side>> forced;
};

class Branching {
 public:
  Branching(InstantBound& at_instant, std::int64_t budget, std::int64_t work)
      : instant_(at_instant),
        room_(static_cast<double>(budget - at_instant.needed())),
        end_(at_instant.work() + work) {}

  const InstantBound::Choice& best() const { return best_; }

  double run() {
    Part whole;
    measure(whole);
    std::vector<Part> open{std::move(whole)};
    const auto later = [](const Part& a, const Part& b) { return a.bound > b.bound; };
    double closed = kInfinite;  // the least bound of parts that are not divided
    while (!open.empty() && open.front().bound < std::min(closed, fitting_) && instant_.work() < end_) {
      std::pop_heap(open.begin(), open.end(), later);
      const Part part = std::move(open.back());
      open.pop_back();
      if (part.split < 0) {
        closed = std::min(closed, part.bound);
        continue;
      }
      for (const InstantBound::Side side : {InstantBound::Side::kReruns, InstantBound::Side::kStays}) {
        Part half;
        half.bound = part.bound;
        half.price = part.price;
        half.forced = part.forced;
        half.forced.emplace_back(part.split, side);
        measure(half);
        if (half.bound >= fitting_) continue;
        open.push_back(std::move(half));
        std::push_heap(open.begin(), open.end(), later);
      }
    }
    if (!open.empty()) closed = std::min(closed, open.front().bound);
    return std::min(closed, fitting_);
  }

 private:
  // g(price) = value - price * room is concave and bounds the part everywhere. Tangents where it rises and where it
  // falls meet above its maximum; there the next price is tried.
  struct Tangent {
    double at = 0;
    double slope = 0;
    InstantBound::Choice choice;
  };

  Tangent look(Part& part, double price) {
    Tangent tangent;
    tangent.choice = instant_.choose(price);
    const InstantBound::Choice& choice = tangent.choice;
    tangent.at = choice.cost;
    tangent.slope = static_cast<double>(choice.bytes) - room_;
    part.bound = std::max(part.bound, choice.value - price * room_);
    if (tangent.slope <= 0 ? choice.cost < fitting_ : fitting_ == kInfinite) best_ = choice;
    if (tangent.slope <= 0) fitting_ = std::min(fitting_, choice.cost);
    return tangent;
  }

  void measure(Part& part) {
    for (const auto& [op, side] : part.forced) instant_.force(op, side);
    divide(part);
    for (const auto& [op, side] : part.forced) instant_.force(op, InstantBound::Side::kFree);
  }

  void divide(Part& part) {
    Tangent left = look(part, 0);
    if (left.slope <= 0) return;  // nothing binds
    const double highest = instant_.highest_price();
    double price = part.price > 0 ? part.price : highest;
    Tangent right = look(part, price);
    while (right.slope > 0 && price < highest && part.bound < fitting_) {
      left = std::move(right);
      price = std::min(price * 8, highest);
      right = look(part, price);
    }
    for (int i = 0; i < kMostPrices && right.slope < 0 && left.slope > 0 && part.bound < fitting_; ++i) {
      price = (right.at - left.at) / (left.slope - right.slope);
      if (price <= 0 || left.at + left.slope * price <= part.bound * (1 + 1e-6)) break;
      part.price = price;
      Tangent next = look(part, price);
      (next.slope > 0 ? left : right) = std::move(next);
    }
    if (right.slope < 0) part.split = widest_difference(left.choice, right.choice);
  }

  // Of the ops that one choice runs again and the other does not, the one with the most bytes.
  OpId widest_difference(const InstantBound::Choice& a, const InstantBound::Choice& b) const {
    OpId widest = -1;
    std::int64_t most = -1;
    for (std::size_t op = 0; op < a.reruns.size(); ++op) {
      if (a.reruns[op] == b.reruns[op]) continue;
      const std::int64_t bytes = instant_.bytes_of(static_cast<OpId>(op));
      if (bytes <= most) continue;
      most = bytes;
      widest = static_cast<OpId>(op);
    }
    return widest;
  }

  InstantBound& instant_;
  const double room_;
  const std::int64_t end_;
  double fitting_ = kInfinite;  // the cheapest choice seen that fits
  InstantBound::Choice best_;
};

}  // namespace

double whole_bound(InstantBound& at_instant, std::int64_t budget, std::int64_t work, InstantBound::Choice* choice) {
  Branching branching(at_instant, budget, work);
  const double bound = branching.run();
  if (choice != nullptr) *choice = branching.best();
  return bound;
}

}  // namespace tidemark::scheduler
