#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "data/random.h"
#include "tidemark/data.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::data {
namespace {

// The CPUs of the process, before any session bound its threads: new threads inherit the binding of their maker, and
// a loader on the CPU of a compute thread would stop all of them.
const cpu_set_t kProcessCpus = [] {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  return cpus;
}();

// Fills one batch at a time in a thread of its own.
class Filler {
 public:
  struct Job {
    std::span<const std::int64_t> indices;
    std::int64_t epoch = 0;
    std::byte* x = nullptr;  // null in a dry run: there is nothing to write to
    std::byte* y = nullptr;
  };

  Filler(const Source& source, SourceLocation where)
      : source_(source),
        x_stride_(source.x_shape().numel() * size_of(source.x_dtype())),
        y_stride_(source.y_shape().numel() * size_of(source.y_dtype())) {
    try {
      shared_->thread = std::thread([this] { run(); });
    } catch (const std::system_error& error) {
      throw Error("[data] the loader's thread cannot be started: " + std::string(error.what()) +
                  "; raise the limit on processes (ulimit -u), or end other loaders (at " + to_string(where) + ")");
    }
  }
  ~Filler() {
    if (left_behind()) {
      (void)shared_.release();  // nobody can give back what the thread holds
      return;
    }
    shared_->cancel = true;
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->stop = true;
    }
    shared_->changed.notify_all();
    shared_->thread.join();
  }
  Filler(const Filler&) = delete;
  Filler& operator=(const Filler&) = delete;

  void start(const Job& job) {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->job = job;
    }
    shared_->changed.notify_all();
  }
  // Breaks off the job under way; nothing is written from then on.
  void cancel() {
    if (left_behind()) return;
    std::unique_lock lock(shared_->mutex);
    shared_->cancel = true;
    wait_in(lock);
    shared_->cancel = false;
    shared_->error = nullptr;
  }
  // Until no job is under way; what the source threw is kept for wait().
  void pause() {
    if (left_behind()) return;
    std::unique_lock lock(shared_->mutex);
    wait_in(lock);
  }
  // Until no job is under way. Throws what the source threw.
  void wait() {
    std::unique_lock lock(shared_->mutex);
    wait_in(lock);
    if (shared_->error) std::rethrow_exception(std::exchange(shared_->error, nullptr));
  }

 private:
  // What the thread uses as well.
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Job> job;
    std::exception_ptr error;
    bool stop = false;
    std::atomic<bool> cancel = false;
    std::thread thread;
  };

  // In a process that was forked since: the thread stayed in the other one.
  bool left_behind() const { return getpid() != process_; }
  void wait_in(std::unique_lock<std::mutex>& lock) {
    shared_->changed.wait(lock, [&] { return !shared_->job; });
  }
  void run() {
    sched_setaffinity(0, sizeof kProcessCpus, &kProcessCpus);
    std::unique_lock lock(shared_->mutex);
    while (true) {
      shared_->changed.wait(lock, [&] { return shared_->stop || shared_->job; });
      if (shared_->stop) return;
      const Job job = *shared_->job;
      lock.unlock();
      std::exception_ptr error;
      try {
        fill(job);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      shared_->error = error;
      shared_->job.reset();
      shared_->changed.notify_all();
    }
  }
  void fill(const Job& job) const {
    if (job.x == nullptr || job.y == nullptr) return;
    std::byte* x = job.x;
    std::byte* y = job.y;
    for (const std::int64_t index : job.indices) {
      if (shared_->cancel) return;
      source_.write(index, job.epoch, x, y);
      x += x_stride_;
      y += y_stride_;
    }
  }

  const Source& source_;
  std::int64_t x_stride_, y_stride_;
  pid_t process_ = getpid();
  std::unique_ptr<Shared> shared_ = std::make_unique<Shared>();
};

using tidemark::detail::BatchSlot;
using tidemark::detail::SessionTie;

Shape batched(std::int64_t batch, const Shape& example, SourceLocation where) {
  std::vector<std::int64_t> dims{batch};
  dims.insert(dims.end(), example.dims().begin(), example.dims().end());
  return Shape(dims, where);
}

}  // namespace

struct Loader::State {
  State(std::shared_ptr<const Source> the_source, const LoaderOptions& the_options, SourceLocation the_where)
      : source(checked(std::move(the_source), the_options, the_where)),
        options(the_options),
        where(the_where),
        tie(Session::current(), [this] { filler.cancel(); }),
        filler(*source, the_where) {}

  static std::shared_ptr<const Source> checked(std::shared_ptr<const Source> source, const LoaderOptions& options,
                                               SourceLocation where) {
    BatchSlot::check(batched(options.batch, source->x_shape(), where), source->x_dtype(), where);
    BatchSlot::check(batched(options.batch, source->y_shape(), where), source->y_dtype(), where);
    return source;
  }
  BatchSlot slot(const Shape& example, DType dtype) {
    return {tie.session("data", where), batched(options.batch, example, where), dtype, [this] { filler.pause(); },
            where};
  }
  std::int64_t batches() const {
    const std::int64_t whole = source->size() / options.batch;
    return whole + (!options.drop_last && source->size() % options.batch != 0 ? 1 : 0);
  }
  std::span<const std::int64_t> indices(std::int64_t index) const {
    const std::span<const std::int64_t> all(order);
    const auto first = static_cast<std::size_t>(index * options.batch);
    return all.subspan(first, std::min(static_cast<std::size_t>(options.batch), all.size() - first));
  }
  void prefetch(std::int64_t index) {
    filler.start({indices(index), epoch, static_cast<std::byte*>(x->back()), static_cast<std::byte*>(y->back())});
  }
  // Two batches of memory, from begin() to the end of the pass.
  void take_slots() {
    if (!x) x.emplace(slot(source->x_shape(), source->x_dtype()));
    if (!y) y.emplace(slot(source->y_shape(), source->y_dtype()));
  }
  void give_slots_back() {
    batch = {};
    x.reset();
    y.reset();
  }
  void begin() {
    (void)tie.session("data", where);
    filler.wait();
    take_slots();
    const auto key = mix(options.seed, static_cast<std::uint64_t>(epoch + 1));
    if (options.shuffle) {
      order = permutation(source->size(), key);
    } else if (order.empty()) {
      order.resize(static_cast<std::size_t>(source->size()));
      std::iota(order.begin(), order.end(), std::int64_t{0});
    }
    ++epoch;
    position = std::exchange(start, 0) - 1;
    prefetched = false;
    advance();
  }
  Position place() const {
    if (epoch < 0 || !x) return {epoch + 1, start};
    return {epoch, position + 1};
  }
  void seek(const Position& to) {
    filler.cancel();
    give_slots_back();
    epoch = to.epoch - 1;
    start = to.batch;
    position = batches();
  }
  void advance() {
    ++position;
    batch = {};
    (void)tie.session("data", where);
    if (position >= batches()) {
      give_slots_back();
      return;
    }
    if (!prefetched) prefetch(position);
    {
      const detail::DataWait wait(tie.session("data", where), where);
      filler.wait();
    }
    batch = {x->exchange(where), y->exchange(where)};
    const auto count = static_cast<std::int64_t>(indices(position).size());
    prefetched = position + 1 < batches() && x->back_stays() && y->back_stays();
    if (prefetched) prefetch(position + 1);
    if (count < options.batch) batch = {slice(batch.x, 0, 0, count, where), slice(batch.y, 0, 0, count, where)};
  }

  std::shared_ptr<const Source> source;
  LoaderOptions options;
  SourceLocation where;
  SessionTie tie;
  std::optional<BatchSlot> x, y;
  std::vector<std::int64_t> order;
  std::int64_t epoch = -1;
  std::int64_t position = -1;
  std::int64_t start = 0;   // batch of the next pass
  bool prefetched = false;  // the next batch is being written, or is there
  Batch batch;
  Filler filler;  // last: its thread writes to the slots
};

Loader::Loader(std::shared_ptr<const Source> source, const LoaderOptions& options, SourceLocation where) {
  const auto require = [&](bool holds, const std::string& message) {
    if (!holds) throw Error("[data] " + message + " (at " + to_string(where) + ")");
  };
  require(options.batch >= 1, ".batch must be at least 1, but is " + std::to_string(options.batch));
  require(source != nullptr, "there is no source: the pointer that the loader is made of is null");
  const std::int64_t size = source->size();
  require(size >= 0 && size <= kMostExamples, "the source's size() must be from 0 to " + std::to_string(kMostExamples) +
                                                  " examples, but is " + std::to_string(size));
  require(!options.drop_last || size >= options.batch, std::to_string(size) + " examples fill no batch of " +
                                                           std::to_string(options.batch) +
                                                           ", and .drop_last leaves out the rest");
  state_ = std::make_unique<State>(std::move(source), options, where);
}

Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;
Loader::~Loader() = default;

Loader::Iterator Loader::begin() {
  state().begin();
  return Iterator(this);
}

Loader::State& Loader::state() const {
  if (state_ == nullptr) throw Error("[data] this loader has been moved into another one; use that");
  return *state_;
}

Position Loader::position() const { return state().place(); }

void Loader::seek(const Position& position, SourceLocation where) {
  const std::int64_t last = batches();
  constexpr std::int64_t kMostEpochs = std::int64_t{1} << 53;
  if (position.epoch < 0 || position.epoch > kMostEpochs || position.batch < 0 || position.batch > last) {
    throw Error("[data] there is no batch " + std::to_string(position.batch) + " of epoch " +
                std::to_string(position.epoch) + "; an epoch has " + std::to_string(last) + " batches (at " +
                to_string(where) + ")");
  }
  state().seek(position);
}

std::int64_t Loader::batches() const { return state().batches(); }
const Source& Loader::source() const { return *state().source; }
const LoaderOptions& Loader::options() const { return state().options; }

const Batch& Loader::Iterator::operator*() const { return loader_->state().batch; }
Loader::Iterator& Loader::Iterator::operator++() {
  loader_->state().advance();
  return *this;
}
bool Loader::Iterator::at_end() const { return loader_->state().position >= loader_->state().batches(); }

Loader mnist(const std::string& dir, const LoaderOptions& options, SourceLocation where) {
  return Loader(mnist_source(dir, options.split), options, where);
}
Loader cifar10(const std::string& dir, const LoaderOptions& options, SourceLocation where) {
  return Loader(cifar10_source(dir, options.split), options, where);
}
Loader text(const std::string& file, const TextOptions& text, const LoaderOptions& options, SourceLocation where) {
  return Loader(text_source(file, options.split, text), options, where);
}
Loader synthetic(const SyntheticImagesOptions& images, const LoaderOptions& options, SourceLocation where) {
  return Loader(synthetic_images(images, options.split), options, where);
}
Loader synthetic(const SyntheticTokensOptions& tokens, const LoaderOptions& options, SourceLocation where) {
  return Loader(synthetic_tokens(tokens, options.split), options, where);
}

}  // namespace tidemark::data
