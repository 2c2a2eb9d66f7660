#include "compute/threads.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "compute/require_memory.h"
#include "tidemark/error.h"

namespace tidemark::compute {
namespace {

// The process in which a team was started first. Its child by fork() has none of the threads, and OpenMP waits for them
// there.
std::atomic<pid_t> team_process = 0;

// What OpenMP takes for a team beside the stacks of its threads, with room to spare: it ends the process without it.
constexpr std::int64_t kTeamBytes = std::int64_t{1} << 20;

int thread_id() { return static_cast<int>(syscall(SYS_gettid)); }

// With OMP_PROC_BIND the main thread is bound before main(): the places tell what the process may use.
cpu_set_t find_allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> ids;
  for (int place = 0; place < omp_get_num_places(); ++place) {
    ids.resize(static_cast<std::size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, ids.data());
    for (const int id : ids) CPU_SET(id, &set);
  }
  return set;
}

const cpu_set_t& allowed_set() {
  static const cpu_set_t set = find_allowed();
  return set;
}

// The allowed processors, from the one that the caller runs on, so that processes side by side spread.
std::vector<int> allowed_from_here() {
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed_set())) cpus.push_back(cpu);
  }
  const auto here = std::find(cpus.begin(), cpus.end(), sched_getcpu());
  if (here != cpus.end()) std::rotate(cpus.begin(), here, cpus.end());
  return cpus;
}

// Which processors living bindings hold, by the thread that made them. A thread's nested bindings share its team, so
// they do not stand in each other's way.
std::mutex bindings_mutex;
std::map<int, std::multiset<int>>& bindings() {
  static std::map<int, std::multiset<int>> cpus_of_thread;
  return cpus_of_thread;
}

bool user_binds() { return std::getenv("OMP_PROC_BIND") != nullptr || omp_get_proc_bind() != omp_proc_bind_false; }

std::vector<int> claim(int threads, int owner) {
  const std::lock_guard lock(bindings_mutex);
  std::vector<int> cpus = allowed_from_here();
  for (const auto& [thread, held] : bindings()) {
    if (thread != owner) std::erase_if(cpus, [&held = held](int cpu) { return held.contains(cpu); });
  }
  if (static_cast<int>(cpus.size()) < threads) return {};
  cpus.resize(static_cast<std::size_t>(threads));
  std::multiset<int> claimed(cpus.begin(), cpus.end());  // all of them or none, where there is no memory for it
  bindings()[owner].merge(claimed);
  return cpus;
}

void give_back(const std::vector<int>& cpus, int owner) {
  const std::lock_guard lock(bindings_mutex);
  std::multiset<int>& held = bindings()[owner];
  for (const int cpu : cpus) held.erase(held.find(cpu));
  if (held.empty()) bindings().erase(owner);
}

}  // namespace

int allowed_cpus() { return std::max(1, CPU_COUNT(&allowed_set())); }

namespace {

// What keeps a team of so many from being whole, and what to do about it; nothing where nothing is known.
std::string obstacle(int threads) {
  const std::string fewer = "; or ask for fewer threads";
  if (omp_get_max_active_levels() == 0) return "OMP_MAX_ACTIVE_LEVELS is 0: unset it, or ask for 1 thread";
  if (omp_get_active_level() >= omp_get_max_active_levels()) {
    return "the call comes from inside another parallel region: make sessions and use them outside of it, or ask for "
           "1 thread";
  }
  if (omp_get_thread_limit() < threads) {
    return "OMP_THREAD_LIMIT is " + std::to_string(omp_get_thread_limit()) + ": raise it" + fewer;
  }
  if (omp_get_dynamic() != 0) return "omp_set_dynamic(1) lets OpenMP choose: call omp_set_dynamic(0)" + fewer;
  return "";
}

int count_team(int threads) {
  int team = 0;
#pragma omp parallel num_threads(threads)
  if (omp_get_thread_num() == 0) team = omp_get_num_threads();
  return team;
}

void require_whole(int threads, int team) {
  if (team == threads) return;
  const std::string why = obstacle(threads);
  throw Error("OpenMP gives " + std::to_string(team) + " of the " + std::to_string(threads) +
              " threads that the session works with" + (why.empty() ? std::string() : "; " + why));
}

// The bytes of stack that OpenMP asks for, by OMP_STACKSIZE or its older name: a number of KiB, or with B, K, M or G.
// 0 where the system decides.
std::size_t stack_bytes() {
  for (const char* name : {"OMP_STACKSIZE", "GOMP_STACKSIZE"}) {
    const char* const text = std::getenv(name);
    if (text == nullptr) continue;
    char* end = nullptr;
    const unsigned long long number = std::strtoull(text, &end, 10);
    while (*end == ' ') ++end;
    const int shift = *end == 'B' || *end == 'b'   ? 0
                      : *end == 'M' || *end == 'm' ? 20
                      : *end == 'G' || *end == 'g' ? 30
                                                   : 10;
    if (end != text && number <= (~std::size_t{0} >> shift)) return static_cast<std::size_t>(number) << shift;
  }
  return 0;
}

void* wait_at(void* gate) {
  const std::lock_guard wait(*static_cast<std::mutex*>(gate));
  return nullptr;
}

// OpenMP ends the process where it cannot start a thread: whether it can is found out before.
void require_startable(int threads) {
  std::vector<pthread_t> tried;
  tried.reserve(static_cast<std::size_t>(threads));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (const std::size_t stack = stack_bytes(); stack > 0) pthread_attr_setstacksize(&attributes, stack);
  int failure = 0;
  {
    std::mutex gate;
    {
      const std::lock_guard closed(gate);
      for (int i = 1; i < threads && failure == 0; ++i) {
        pthread_t thread{};
        failure = pthread_create(&thread, &attributes, wait_at, &gate);
        if (failure == 0) tried.push_back(thread);
      }
    }
    for (const pthread_t thread : tried) pthread_join(thread, nullptr);
  }
  pthread_attr_destroy(&attributes);
  if (failure == 0) return;
  throw Error(
      "the system starts " + std::to_string(tried.size() + 1) + " of the " + std::to_string(threads) +
      " threads that the session works with (" + std::strerror(failure) +
      "): ask for fewer, raise the limits on processes (ulimit -u) and on address space (ulimit -v), or lower " +
      "OMP_STACKSIZE where it is set");
}

}  // namespace

ThreadBinding::ThreadBinding(int threads)
    : threads_(std::max(1, threads)),
      former_threads_(omp_get_max_threads()),
      former_dynamic_(omp_get_dynamic() != 0),
      owner_(thread_id()) {
  if (threads_ > 1) {
    pid_t none = 0;
    if (!team_process.compare_exchange_strong(none, getpid()) && team_process != getpid()) {
      throw Error(
          "this process was forked from one that used sessions of several threads, which are gone here: ask for "
          "1 thread, or start the process anew (exec)");
    }
    require_startable(threads_);
  }
  const bool binds = threads_ > 1 && !user_binds();
  if (binds) former_.resize(static_cast<std::size_t>(threads_));
  omp_set_dynamic(0);
  omp_set_num_threads(threads_);
  try {
    if (threads_ > 1) {
      require_memory(kTeamBytes);
      require_whole(threads_, count_team(threads_));
    }
    if (binds) cpus_ = claim(threads_, owner_);
  } catch (...) {
    omp_set_num_threads(former_threads_);
    omp_set_dynamic(former_dynamic_ ? 1 : 0);
    throw;
  }
  if (!binds) return;
    // Members that are not bound are let go explicitly: a new one has inherited the processor of an outer binding.
#pragma omp parallel num_threads(threads_)
  {
    const auto member = static_cast<std::size_t>(omp_get_thread_num());
    sched_getaffinity(0, sizeof(cpu_set_t), &former_[member]);
    cpu_set_t own = allowed_set();
    if (!cpus_.empty()) {
      CPU_ZERO(&own);
      CPU_SET(cpus_[member], &own);
    }
    sched_setaffinity(0, sizeof own, &own);
  }
}

void ThreadBinding::check_team() const {
  if (threads_ == 1 || (omp_get_active_level() == 0 && obstacle(threads_).empty())) return;
  require_whole(threads_, count_team(threads_));
}

ThreadBinding::~ThreadBinding() {
  if (!cpus_.empty()) give_back(cpus_, owner_);
  // Another thread has another team, which this binding never touched.
  if (thread_id() != owner_) return;
  if (!former_.empty() && team_process == getpid() && count_team(threads_) == threads_) {
#pragma omp parallel num_threads(threads_)
    sched_setaffinity(0, sizeof(cpu_set_t), &former_[static_cast<std::size_t>(omp_get_thread_num())]);
  }
  omp_set_num_threads(former_threads_);
  omp_set_dynamic(former_dynamic_ ? 1 : 0);
}

void unbind_current_thread() { sched_setaffinity(0, sizeof(cpu_set_t), &allowed_set()); }

}  // namespace tidemark::compute
