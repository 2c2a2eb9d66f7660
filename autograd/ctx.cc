// The parallel regions of kernels.
#include <exception>
#include <limits>
#include <mutex>
#include <string>

#include "compute/machine.h"
#include "compute/threads.h"
#include "tidemark/op.h"

namespace tidemark {

void Ctx::run_parts(std::int64_t count, std::int64_t grain, void (*part)(const void*, std::int64_t, std::int64_t),
                    const void* function) const {
  if (grain < 1) throw Error("parallel_for: the grain is " + std::to_string(grain) + "; it must be at least 1");
  // An exception must not leave the region that it is thrown in.
  std::mutex mutex;
  std::exception_ptr error;
  std::int64_t error_at = std::numeric_limits<std::int64_t>::max();
  compute::parallel_for(count, grain, threads(), [&](std::int64_t first, std::int64_t last) {
    try {
      part(function, first, last);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (first < error_at) {
        error = std::current_exception();
        error_at = first;
      }
    }
  });
  if (error != nullptr) std::rethrow_exception(error);
}

}  // namespace tidemark
