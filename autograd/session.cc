// Sessions, and what loaders and optimizers need of them.
#include "tidemark/session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/check.h"
#include "autograd/engine.h"
#include "core/extents.h"

namespace tidemark {
namespace {

thread_local Session* innermost = nullptr;

}  // namespace

Session::Session(SessionOptions options) : outer_(innermost) {
  if (options.budget && *options.budget < core::Extents::kAlignment) {
    throw Error(absl::StrCat("a budget of ", *options.budget, " bytes holds nothing; state it in bytes, e.g. 512_MiB"));
  }
  if (options.threads < 0 || options.threads > 1024) {
    throw Error(absl::StrCat("threads must be 1 to 1024, or 0 for every CPU of this process; not ", options.threads));
  }
  engine_ = std::make_unique<detail::Engine>(*this, options);
  innermost = this;
}

Session::~Session() {
  for (const std::function<void()>& ending : engine_->endings()) ending();
  if (innermost == this) {
    innermost = outer_;
    return;
  }
  for (Session* session = innermost; session != nullptr; session = session->outer_) {
    if (session->outer_ == this) session->outer_ = outer_;
  }
}

Session& Session::current() {
  if (innermost == nullptr)
    throw Error("there is no session on this thread; make one first: td::Session session({...})");
  return *innermost;
}

const SessionOptions& Session::options() const { return engine_->options(); }
Report Session::report() const { return engine_->report(); }
std::string Session::explain() const { return engine_->explain(); }
scheduler::Graph Session::graph() const { return engine_->graph(); }
std::int64_t Session::step() const { return engine_->step(); }
void Session::set_step(std::int64_t step) { engine_->set_step(step); }

std::int64_t smallest_budget(SessionOptions options, const std::function<void()>& program) {
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
  // What the last refusal named was planned, and is the smallest; else the truth lies between the two.
  while (!planned && budget - refused > std::max(core::Extents::kAlignment, budget / 256)) {
    const std::int64_t middle = whole(refused + (budget - refused) / 2);
    (refusal(middle) ? refused : budget) = middle;
  }
  return budget;
}

namespace detail {

void optimizer_step(Session& session, std::span<const Tensor> leaves, const std::function<void()>& update,
                    SourceLocation where) {
  session.engine().optimizer_step(leaves, update, where);
}

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
  impl_->session->engine().check_thread(what, where);
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
  impl_->front = engine.new_batch(meta, where);
  impl_->back = engine.new_slot(meta.bytes, impl_->pause, where);
}

BatchSlot::~BatchSlot() {
  if (impl_ == nullptr) return;
  Handle* front = Access::handle(impl_->front);
  if (front->engine == nullptr) return;
  front->engine->release_batch(front);
  front->engine->free_slot(impl_->back);
}

BatchSlot::BatchSlot(BatchSlot&&) noexcept = default;

void* BatchSlot::back() const { return impl_->engine().slot_data(impl_->back); }
bool BatchSlot::back_stays() const { return impl_->engine().stays_in_place(impl_->back); }

Tensor BatchSlot::exchange(SourceLocation where) {
  Handle* front = impl_->engine().exchange_batch(Access::handle(impl_->front), impl_->back, impl_->pause, where);
  impl_->front = Access::adopt(front);
  return impl_->front;
}

}  // namespace detail
}  // namespace tidemark
