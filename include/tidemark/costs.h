// What ops are taken to cost, in seconds: planners weigh computing one value again against another by it. Costs never
// change a result.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "tidemark/timeline.h"

#pragma GCC visibility push(default)
namespace tidemark {

// An op takes as long as was measured, or else seconds_per_call plus what its floating-point operations or its bytes
// take, whichever is more. The defaults are of no machine in particular: plans then do not depend on where they are
// made.
struct Costs {
  double seconds_per_call = 3e-6;
  double seconds_per_flop = 1.0 / 50e9;  // of one thread
  double seconds_per_byte = 1.0 / 20e9;
  std::unordered_map<std::uint64_t, double> measured = {};  // by the signature of an op (Timeline::Span)

  // The three rates of this machine: products of matrices, streams and small calls, timed on so many threads (0: all of
  // this process) for some tenths of a second.
  static Costs calibrated(int threads = 0);
  // The median time of each op in these timelines, beside the rates of `rates`. Runs that computed something again
  // count with the others.
  static Costs measured_in(std::span<const Timeline> timelines, const Costs& rates);
};

}  // namespace tidemark
#pragma GCC visibility pop
