// One point of a sweep, as its own process measures it.
#pragma once

#include <functional>

#include "tidemark/session.h"
#include "tidemark/sweep.h"

namespace tidemark::report {

// Two steps, then so many measured ones, and one more in which each op is timed, in a session of these options.
SweepRun measure(const SessionOptions& options, int steps, const std::function<SweepSubject()>& program);

// What a program takes, without running a kernel.
struct Forecast {
  std::int64_t fixed_bytes = 0;
  std::int64_t peak_bytes = 0;
  std::int64_t smallest_bytes = 0;
};
Forecast forecast(const SessionOptions& options, const std::function<SweepSubject()>& program);

// The costs that the sweep's options ask for, by processes of their own.
Costs costs_in_child(const SweepOptions& sweep, const SessionOptions& session,
                     const std::function<SweepSubject()>& program);

}  // namespace tidemark::report
