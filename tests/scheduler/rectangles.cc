#include "tests/scheduler/rectangles.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/scheduler/graphs.h"

namespace tidemark::scheduler::testing {
namespace {

struct Rectangle {
  std::int64_t from, to, low, high;
  std::int64_t area() const { return (to - from) * (high - low); }
};

class Cutter {
 public:
  Cutter(std::mt19937_64& rng, Rectangle whole) : rng_(rng), pieces_{whole} {}

  std::vector<Rectangle> cut(std::size_t count, Cuts cuts) {
    for (std::size_t misses = 0; pieces_.size() < count && misses < 20 * count;) {
      // A large one of a few, so that sizes stay of one order.
      std::size_t chosen = below(pieces_.size());
      for (int i = 0; i < 3; ++i) {
        const std::size_t other = below(pieces_.size());
        if (pieces_[other].area() > pieces_[chosen].area()) chosen = other;
      }
      const bool done = cuts == Cuts::kPinwheel && below(2) == 0 ? pinwheel(chosen) : straight(chosen);
      misses += done ? 0 : 1;
    }
    return std::move(pieces_);
  }

 private:
  std::size_t below(std::size_t n) { return rng_() % n; }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::size_t>(high - low) + 1));
  }

  bool straight(std::size_t chosen) {
    Rectangle& r = pieces_[chosen];
    Rectangle rest = r;
    if (below(2) == 0) {
      if (r.to - r.from < 2) return false;
      r.to = rest.from = between(r.from + 1, r.to - 1);
    } else {
      if (r.high - r.low < 2) return false;
      r.high = rest.low = between(r.low + 1, r.high - 1);
    }
    pieces_.push_back(rest);
    return true;
  }

  bool pinwheel(std::size_t chosen) {
    const Rectangle r = pieces_[chosen];
    if (r.to - r.from < 3 || r.high - r.low < 3) return false;
    const std::int64_t t = between(r.from + 1, r.to - 2);
    const std::int64_t u = between(t + 1, r.to - 1);
    const std::int64_t x = between(r.low + 1, r.high - 2);
    const std::int64_t y = between(x + 1, r.high - 1);
    pieces_[chosen] = {r.from, u, r.low, x};
    pieces_.insert(pieces_.end(), {{u, r.to, r.low, y}, {t, r.to, y, r.high}, {r.from, t, x, r.high}, {t, u, x, y}});
    return true;
  }

  std::mt19937_64& rng_;
  std::vector<Rectangle> pieces_;
};

}  // namespace

Graph cut_rectangle(std::mt19937_64& rng, int buffers, int runs, std::int64_t units, Cuts cuts) {
  std::vector<Rectangle> pieces = Cutter(rng, {0, runs, 0, units}).cut(static_cast<std::size_t>(buffers), cuts);
  std::shuffle(pieces.begin(), pieces.end(), rng);
  Graph graph;
  std::vector<std::vector<BufferId>> writes(static_cast<std::size_t>(runs));
  std::vector<std::vector<BufferId>> reads(static_cast<std::size_t>(runs));
  for (const Rectangle& r : pieces) {
    const BufferId b = add_buffer(graph, r.high - r.low);
    writes[static_cast<std::size_t>(r.from)].push_back(b);
    if (r.to - r.from > 1) reads[static_cast<std::size_t>(r.to) - 1].push_back(b);
  }
  for (std::size_t run = 0; run < writes.size(); ++run) add_op(graph, 1, reads[run], writes[run]);
  return graph;
}

}  // namespace tidemark::scheduler::testing
