// Sessions, and what loaders and optimizers need of them.
#include "tidemark/session.h"

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"

namespace tidemark {
namespace {

thread_local Session* innermost = nullptr;

}  // namespace

Session::Session(SessionOptions options) : outer_(innermost) {
  if (options.budget && *options.budget < memory::Extents::kAlignment) {
    throw Error(absl::StrCat("a budget of ", *options.budget, " bytes holds nothing; state it in bytes, e.g. 512_MiB"));
  }
  if (options.threads < 0 || options.threads > 1024) {
    throw Error(absl::StrCat("threads must be 1 to 1024, or 0 for every CPU of this process; not ", options.threads));
  }
  engine_ = std::make_unique<detail::Engine>(*this, options);
  innermost = this;
}

Session::~Session() {
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

namespace detail {

void optimizer_step(Session& session, std::span<const Tensor> leaves, const std::function<void()>& update,
                    SourceLocation where) {
  session.engine().optimizer_step(leaves, update, where);
}

struct BatchSlot::Impl {
  Engine* engine;
  Tensor front;
  StorageId back;
};

BatchSlot::BatchSlot(Session& session, const Shape& shape, DType dtype, SourceLocation where)
    : impl_(std::make_unique<Impl>()) {
  const Meta meta = Meta::plain(shape, dtype);
  impl_->engine = &session.engine();
  impl_->front = impl_->engine->new_batch(meta, where);
  impl_->back = impl_->engine->new_pinned_storage(meta.bytes, Category::kBatch, where);
}

BatchSlot::~BatchSlot() {
  if (impl_ == nullptr) return;
  if (Access::handle(impl_->front)->engine != nullptr) impl_->engine->free_pinned_storage(impl_->back);
}

BatchSlot::BatchSlot(BatchSlot&&) noexcept = default;

void* BatchSlot::back() const { return impl_->engine->storage_data(impl_->back); }
bool BatchSlot::back_stays() const { return impl_->engine->stays_in_place(impl_->back); }

Tensor BatchSlot::exchange(SourceLocation where) {
  Handle* front = impl_->engine->exchange_batch(Access::handle(impl_->front), impl_->back, where);
  impl_->front = Access::adopt(front);
  return impl_->front;
}

}  // namespace detail
}  // namespace tidemark
