// Sessions, and what loaders and optimizers need of them.
#include "tidemark/session.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/check.h"
#include "autograd/engine.h"
#include "core/extents.h"
#include "tidemark/dry_run.h"

namespace tidemark {

namespace {

// The living sessions of each thread, the innermost last. A session may be destroyed by another thread than its own,
// which has to find the list, also where its own thread has ended.
std::mutex sessions_mutex;
std::map<std::uint64_t, std::vector<Session*>> sessions_of_thread;

// The system may give a new thread the id of one that has ended; this number is given once.
std::uint64_t thread_number() {
  static std::atomic<std::uint64_t> last = 0;
  thread_local const std::uint64_t number = ++last;
  return number;
}

}  // namespace

Session::Session(SessionOptions options) : thread_(thread_number()) {
  if (options.budget && *options.budget < core::Extents::kAlignment) {
    throw Error(absl::StrCat("a budget of ", *options.budget, " bytes holds nothing; state it in bytes, e.g. 512_MiB"));
  }
  if (options.threads < 0 || options.threads > 1024) {
    throw Error(absl::StrCat("threads must be 1 to 1024, or 0 for every CPU of this process; not ", options.threads));
  }
  try {
    engine_ = std::make_unique<detail::Engine>(*this, options);
    const std::lock_guard lock(sessions_mutex);
    sessions_of_thread[thread_].push_back(this);
  } catch (const std::bad_alloc&) {
    throw Error("[Session] the system has no memory for a session; give the process more (ulimit -v)");
  }
}

Session::~Session() {
  for (const std::function<void()>& ending : engine_->endings()) ending();
  const std::lock_guard lock(sessions_mutex);
  const auto siblings = sessions_of_thread.find(thread_);
  std::erase(siblings->second, this);
  if (siblings->second.empty()) sessions_of_thread.erase(siblings);
}

Session& Session::current() {
  const std::lock_guard lock(sessions_mutex);
  const auto siblings = sessions_of_thread.find(thread_number());
  if (siblings == sessions_of_thread.end() || siblings->second.empty()) {
    throw Error("there is no session on this thread; make one first: td::Session session({...})");
  }
  return *siblings->second.back();
}

const SessionOptions& Session::options() const { return engine_->options(); }

Report Session::report(SourceLocation where) const {
  engine_->check_thread("report", where);
  return engine_->report();
}

Explanation Session::explanation(int offers, SourceLocation where) const {
  engine_->check_thread("explanation", where);
  if (offers < 0 || offers > 1000) {
    throw Error(absl::StrCat("[explanation] offers must be 0 to 1000, not ", offers, " (at ", to_string(where), ")"));
  }
  return engine_->explanation(offers);
}

std::string Session::explain(int offers, SourceLocation where) const { return explanation(offers, where).text(); }

void Session::start_timeline(SourceLocation where) {
  engine_->call("start_timeline", where, [&] {
    if (engine_->timeline().on()) {
      throw Error(absl::StrCat("[start_timeline] a timeline goes on already (at ", to_string(where), ")"));
    }
    engine_->start_timeline();
  });
}

Timeline Session::stop_timeline(SourceLocation where) {
  engine_->check_thread("stop_timeline", where);
  if (!engine_->timeline().on()) {
    throw Error(absl::StrCat("[stop_timeline] no timeline was started (at ", to_string(where), ")"));
  }
  return engine_->timeline().stop();
}

DryRun Session::dry_run(const std::function<void()>& program) const {
  return tidemark::dry_run(engine_->options(), program);
}

scheduler::Graph Session::graph(SourceLocation where) const {
  engine_->check_thread("graph", where);
  return engine_->graph();
}

std::int64_t Session::step(SourceLocation where) const {
  engine_->check_thread("step", where);
  return engine_->step();
}

void Session::set_step(std::int64_t step, SourceLocation where) {
  engine_->call("set_step", where, [&] {
    constexpr std::int64_t kMost = std::int64_t{1} << 31;  // random keys count steps in 32 bits
    if (step < 0 || step > kMost) {
      throw Error(
          absl::StrCat("[set_step] the number of steps must be 0 to 2^31, not ", step, " (at ", to_string(where), ")"));
    }
    engine_->set_step(step);
  });
}

std::int64_t smallest_budget(SessionOptions options, const std::function<void()>& program) {
  if (!program) throw Error("[smallest_budget] there is no program: the function is empty");
  options.dry_run = true;
  std::int64_t refused = 0;
  std::int64_t budget = core::Extents::kAlignment;
  // Nothing where the budget holds the program, else what the refusal says.
  const auto refusal = [&](std::int64_t bytes) -> std::optional<BudgetError> {
    options.budget = bytes;
    const Session session(options);
    try {
      program();
    } catch (const BudgetError& error) {
      return error;
    }
    return std::nullopt;
  };
  const auto whole = [](std::int64_t bytes) { return core::Extents::round_up(bytes); };
  bool planned = false;
  while (const auto error = refusal(budget)) {
    refused = budget;
    planned = error->planned() && error->needed_bytes() > budget;
    budget = whole(planned ? error->needed_bytes()
                           : std::max<std::int64_t>(error->needed_bytes(), budget + budget / 32 + 1));
  }
  // What the last refusal named was planned; else the truth lies between the two.
  while (!planned && budget - refused > std::max(core::Extents::kAlignment, budget / 256)) {
    const std::int64_t middle = whole(refused + (budget - refused) / 2);
    (refusal(middle) ? refused : budget) = middle;
  }
  // What was planned for is not always the least in which the program gets through: down, in steps that grow while they
  // succeed.
  for (std::int64_t step = core::Extents::kAlignment; step > 0 && budget - step > refused;) {
    const bool less = !refusal(budget - step);
    if (less) budget -= step;
    step = less ? 2 * step : step == core::Extents::kAlignment ? 0 : core::Extents::kAlignment;
  }
  return budget;
}

namespace detail {

DataWait::DataWait(Session& session, SourceLocation where)
    : session_(session), where_(where), began_(std::chrono::steady_clock::now()) {}

DataWait::~DataWait() {
  TimelineRecorder& timeline = session_.engine().timeline();
  try {
    if (timeline.on()) timeline.span(Timeline::Track::kData, "data", where_, began_, 0, 0);
  } catch (const std::bad_alloc&) {
    // A span less: whoever waited has the batch all the same.
  }
}

std::int32_t check_gradients(Session& session, const std::shared_ptr<const AnyOp>& op,
                             std::span<const Tensor> gradients, SourceLocation where) {
  Engine& engine = session.engine();
  return engine.call("step", where, [&] { return engine.check_gradients(op, gradients, where); });
}

void undo_changes(Session& session, SourceLocation where) {
  Engine& engine = session.engine();
  engine.call("step", where, [&] { engine.undo_changes(); });
}

void optimizer_step(Session& session, std::span<const Update> updates, SourceLocation where) {
  Engine& engine = session.engine();
  engine.call("step", where, [&] { engine.optimizer_step(updates, where); });
}

void follow_step(Session& session, std::span<const Update> updates, SourceLocation where) {
  Engine& engine = session.engine();
  engine.call("update", where, [&] { engine.follow_step(updates, where); });
}

void backward_to(Session& session, const Tensor& loss, std::span<const Tensor> leaves, SourceLocation where) {
  Engine& engine = session.engine();
  std::vector<Handle*> handles;
  for (const Tensor& leaf : leaves) handles.push_back(Access::handle(leaf));
  engine.call("minimize", where, [&] {
    engine.require_finite(loss, where);
    engine.backward({&loss, 1}, {}, handles, where);
  });
}

void minimize(Session& session, const Tensor& loss, std::span<const PassUpdate> updates, PassOutcome& outcome,
              SourceLocation where) {
  Engine& engine = session.engine();
  engine.call("minimize", where, [&] { engine.minimize(loss, updates, outcome, where); });
}

void read_leaf(const Tensor& leaf, std::int64_t first, std::int64_t count, std::byte* to, SourceLocation where) {
  Engine& engine = leaf.session(where).engine();
  engine.call("save", where, [&] { engine.read_part(Access::handle(leaf), first, count, to, where); });
}

void set_reader(const Tensor& leaf, LeafReader reader, SourceLocation where) {
  Engine& engine = leaf.session(where).engine();
  engine.call("load", where, [&] {
    engine.set_source(
        Access::handle(leaf),
        {.name = {}, .read = std::move(reader.read), .seconds = reader.seconds, .in_parts = reader.in_parts}, where);
  });
}

bool has_reader(const Tensor& leaf) {
  const Handle* handle = Access::handle(leaf);
  return handle->source != nullptr && handle->source->read != nullptr;
}

void fill_leaf(const Tensor& leaf, const std::function<void(std::byte*)>& fill, SourceLocation where) {
  Engine& engine = leaf.session(where).engine();
  engine.call("load", where, [&] { engine.write(Access::handle(leaf), fill, where); });
}

std::uint32_t random_ordinal(Session& session) { return session.engine().keys().ordinal; }

void set_random_ordinal(Session& session, std::int64_t step, std::uint32_t ordinal, SourceLocation where) {
  session.set_step(step, where);
  session.engine().set_keys(step, ordinal);
}

std::optional<std::string> unused_gradient(Session& session) { return session.engine().name_of_unused_gradient(); }

std::int64_t assignments(const Tensor& leaf) { return Access::handle(leaf)->assignments; }

struct SessionTie::Impl {
  Session* session = nullptr;  // null once it has ended
  std::list<std::function<void()>>::iterator ending;
};

SessionTie::SessionTie(Session& session, std::function<void()> before_end) : impl_(std::make_unique<Impl>()) {
  std::list<std::function<void()>>& endings = session.engine().endings();
  impl_->session = &session;
  impl_->ending = endings.insert(endings.end(), [impl = impl_.get(), before_end = std::move(before_end)] {
    before_end();
    impl->session = nullptr;
  });
}

SessionTie::~SessionTie() {
  if (impl_->session != nullptr) impl_->session->engine().endings().erase(impl_->ending);
}

Session& SessionTie::session(const char* what, SourceLocation where) const {
  if (impl_->session == nullptr) {
    throw Error(absl::StrCat("[", what, "] the session of the loader made at ", to_string(where),
                             " has ended; make one in the session that is to use its batches"));
  }
  impl_->session->engine().check_call(what, where);
  return *impl_->session;
}

struct BatchSlot::Impl {
  Engine& engine() const { return *Access::handle(front)->engine; }

  Tensor front;
  StorageId back = kNone;
  std::function<void()> pause;
};

void BatchSlot::check(const Shape& shape, DType dtype, SourceLocation where) {
  (void)plain_meta("data", shape, dtype, where);
}

BatchSlot::BatchSlot(Session& session, const Shape& shape, DType dtype, std::function<void()> pause,
                     SourceLocation where)
    : impl_(std::make_unique<Impl>()) {
  Engine& engine = session.engine();
  const Meta meta = plain_meta("data", shape, dtype, where);
  impl_->pause = std::move(pause);
  engine.call("data", where, [&] {
    impl_->front = engine.new_batch(meta, where);
    impl_->back = engine.new_slot(meta.bytes, impl_->pause, where);
  });
}

BatchSlot::~BatchSlot() {
  if (impl_ == nullptr) return;
  Handle* front = Access::handle(impl_->front);
  if (front->engine == nullptr) return;
  front->engine->free_slots(front, impl_->back);
}

BatchSlot::BatchSlot(BatchSlot&&) noexcept = default;

void* BatchSlot::back() const { return impl_->engine().slot_data(impl_->back); }
bool BatchSlot::back_stays() const { return impl_->engine().stays_in_place(impl_->back); }

Tensor BatchSlot::exchange(SourceLocation where) {
  Engine& engine = impl_->engine();
  impl_->front = engine.call("data", where, [&] {
    return Access::adopt(engine.exchange_batch(Access::handle(impl_->front), impl_->back, impl_->pause, where));
  });
  return impl_->front;
}

}  // namespace detail
}  // namespace tidemark
