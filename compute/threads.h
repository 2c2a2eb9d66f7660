// The team of threads that kernels run on: how many, on which processors, and who computes what.
#pragma once

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace tidemark::compute {

// The processors that this process may use, found at first use: at least 1.
int allowed_cpus();

// While it lives, the OpenMP teams that the constructing thread starts have `threads` members, each bound to a
// processor of its own. Unbound threads beside any other load wait for each other at every barrier.
//
// OpenMP gives fewer threads than it is asked for without a word, and kernels that count on all of them wait for ever.
// So the constructor starts a team and counts it, and check_team() looks whether the next one would be whole.
//
// Nothing is bound where `threads` is 1 or exceeds the processors that other living bindings leave, and where the user
// set OMP_PROC_BIND. The destructor gives the thread its former team size and affinity back, and its team theirs; it
// runs in the thread that constructed, in reverse order where bindings are nested.
class ThreadBinding {
 public:
  // Throws Error where there is no whole team: what stands in the way, and what to do.
  explicit ThreadBinding(int threads);
  ~ThreadBinding();
  ThreadBinding(const ThreadBinding&) = delete;
  ThreadBinding& operator=(const ThreadBinding&) = delete;

  // Throws Error where a team that starts now would not be whole. Cheap outside of other parallel regions.
  void check_team() const;
  int threads() const { return threads_; }
  bool bound() const { return !cpus_.empty(); }

 private:
  int threads_;
  int former_threads_;
  bool former_dynamic_;
  int owner_;                      // the constructing thread, as the kernel numbers it
  std::vector<int> cpus_;          // of each member; empty: not bound
  std::vector<cpu_set_t> former_;  // of each member; empty: nothing was changed
};

// Lets the calling thread run on every processor of the process again. A thread inherits the binding of the one that
// started it: a loader's thread calls this first.
void unbind_current_thread();

// Calls f(first, last) for parts of [0, n), at most one a thread of the team. Each part but the last holds the same
// multiple of `grain` elements: where the parts lie depends on n, grain and threads alone. f must not throw.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, int threads, F&& f) {
  if (n <= 0) return;
  const std::int64_t grains = (n + grain - 1) / grain;
  const std::int64_t part = (grains + threads - 1) / threads * grain;
  const int parts = static_cast<int>((n + part - 1) / part);
  if (parts == 1) {
    f(std::int64_t{0}, n);
    return;
  }
  // A team may be smaller than asked for, as inside another parallel region: its members take several parts then.
#pragma omp parallel num_threads(parts)
  for (int i = omp_get_thread_num(); i < parts; i += omp_get_num_threads()) {
    f(i * part, std::min(n, (i + 1) * part));
  }
}

}  // namespace tidemark::compute
