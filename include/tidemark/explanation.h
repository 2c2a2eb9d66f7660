// Why each value of a step was kept, discarded or computed again, and what more memory would buy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/units.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct Explanation {
  enum class Fate : std::uint8_t {
    kKept,       // in memory from when it was computed until its last use
    kDiscarded,  // given up before its last use, and computed again
    kPinned,     // no op can make it again, or the program asked for it
  };
  // A value that an op of the step computed.
  struct Value {
    std::string op;
    std::string where;  // the user's line
    std::string shape;
    std::int64_t bytes = 0;
    double seconds = 0;  // that the planner takes the op to cost
    Fate fate = Fate::kKept;
    std::int64_t runs = 1;        // of the op
    std::string discarded_after;  // the op after which it was given up first
    std::string recomputed_for;   // the op that needed it then
    bool live_at_peak = false;
    std::string why;  // one clause
  };
  struct Holder {
    std::string name;
    std::string where;
    std::int64_t bytes = 0;
  };
  // What the step would cost in another budget, as planned.
  struct Offer {
    std::int64_t budget = 0;
    double cost = 0;   // of what is computed again or read from files, over every op once: 0.041 is +4.1 %
    double bound = 0;  // no plan costs less
  };

  std::optional<std::int64_t> budget;
  std::vector<Value> values;
  std::int64_t peak_bytes = 0;
  std::string peak_op;           // that ran at the peak
  std::vector<Holder> at_peak;   // the largest first, at most ten
  double cost = 0;               // of what the step as it ran computed again or read from files, likewise
  std::optional<Offer> here;     // what the planner offers in this budget
  std::vector<Offer> with_more;  // in growing budgets; the last one computes nothing again
  std::string text() const;
};

}  // namespace tidemark
#pragma GCC visibility pop
