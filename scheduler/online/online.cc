#include "scheduler/online/evictor.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

struct Online::State {
  const Graph* graph;
  Evictor evictor;
};

Online::State& Online::state() const {
  if (state_ == nullptr) throw Error("online: this one has been moved into another; use that");
  return *state_;
}

Online::Online(const Graph& graph, std::int64_t budget, const Start& start)
    : state_(new State{&graph, Evictor(graph, budget, start)}) {}
Online::Online(Online&&) noexcept = default;
Online& Online::operator=(Online&&) noexcept = default;
Online::~Online() = default;

std::optional<Shortage> Online::admit(OpId op, std::vector<Step>& steps) {
  static const std::vector<BufferId> kNone;
  const auto& ops = state().graph->ops;
  const bool known = op >= 0 && static_cast<std::size_t>(op) < ops.size();
  const auto* releases =
      known && ops[static_cast<std::size_t>(op)].releases ? &*ops[static_cast<std::size_t>(op)].releases : &kNone;
  return state().evictor.admit(op, *releases, steps);
}

std::optional<Shortage> Online::restore(BufferId buffer, std::vector<Step>& steps) {
  return state().evictor.restore(buffer, steps);
}

std::optional<Shortage> Online::reserve(BufferId buffer, std::vector<Step>& steps, std::int64_t& offset) {
  return state().evictor.reserve(buffer, steps, offset);
}

void Online::release(BufferId buffer, std::vector<Step>& steps) { state().evictor.release(buffer, steps); }

void Online::pin(BufferId buffer) { state().evictor.pin(buffer); }

}  // namespace tidemark::scheduler
