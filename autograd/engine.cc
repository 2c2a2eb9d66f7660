#include "autograd/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/check.h"
#include "autograd/gradient_pass.h"
#include "compute/sparse_rows.h"
#include "core/extents.h"

namespace tidemark::detail {
namespace {

using core::Extents;

}  // namespace

bool& grad_enabled() {
  thread_local bool enabled = true;
  return enabled;
}

Engine::Engine(Session& session, const SessionOptions& options)
    : session_(session),
      options_(options),
      binding_(options.threads > 0 ? options.threads : compute::allowed_cpus()),
      machine_(binding_.threads()),
      storages_(options.budget, options.dry_run, machine_.threads(), timeline_),
      lifetimes_(this, tape_, storages_),
      prepared_(machine_),
      recorder_(tape_, storages_, lifetimes_, prepared_, machine_, options_.costs, sources_),
      advisor_(tape_.graph, tape_.signatures, options.budget.has_value(), options.seed, timeline_),
      replay_(tape_, storages_, machine_, account_, timeline_, options.verify_replay),
      keys_{options.seed} {
  options_.threads = machine_.threads();
}

Engine::~Engine() = default;

void Engine::check_thread(std::string_view what, SourceLocation where) const {
  if (half_done_) throw Error(*ended_);
  const auto fail = [&](const char* text) {
    throw Error(absl::StrCat("[", std::string(what), "] ", text, " (at ", to_string(where), ")"));
  };
  if (std::this_thread::get_id() != thread_) {
    fail("a session is used by the thread that made it, and this call comes from another one");
  }
  if (getpid() != process_) {
    fail("the process was forked, and a session's threads stay behind; make another session in the child");
  }
}

void Engine::check_call(std::string_view what, SourceLocation where) const {
  check_thread(what, where);
  const auto fail = [&](const std::string& text) {
    throw Error(absl::StrCat("[", std::string(what), "] ", text, " (at ", to_string(where), ")"));
  };
  if (ended_) fail(ended_->what());
  if (busy_) {
    const std::string_view running = replay_.running();
    fail(absl::StrCat("it was called from inside ",
                      running.empty() ? "an op's prepare" : absl::StrCat("the kernel of ", std::string(running)),
                      ", which may only use what it is given"));
  }
}

void Engine::end_without_memory(std::string_view what, SourceLocation where) {
  half_done_ = true;
  ended_ = no_memory_;
  try {
    ended_ =
        Error(absl::StrCat("[", std::string(what), "] the session has ended: the system had no memory left (at ",
                           to_string(where), "), and what was under way is half done. Nothing of this session can ",
                           "be used any more: go on from a checkpoint in a new one, with a smaller budget or batch"));
  } catch (const std::bad_alloc&) {
    // There is not even the memory for that text.
  }
  throw Error(*ended_);
}

void Engine::check_owners(std::span<const Tensor> inputs, std::string_view what, SourceLocation where) const {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Handle* handle = Access::handle(inputs[i]);
    const auto fail = [&](const char* text) {
      throw Error(absl::StrCat("[", std::string(what), "] input ", i, " ", text, " (at ", to_string(where), ")"));
    };
    if (handle == nullptr) fail("is an undefined tensor");
    if (handle->engine != this) fail("belongs to another session, or to one that has ended");
  }
}

// --- op calls

std::vector<Tensor> Engine::apply(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                                  SourceLocation where) {
  restart_if_idle(*op, where);
  let_go();
  check_owners(inputs, op->name(), where);
  note_change(changed_by(*op, inputs, where), op->name(), where);
  std::vector<Tensor> outputs;
  std::vector<ValueId> values;
  std::uint64_t needs = 0;
  bool differentiable = false;       // a backward pass can go through one of the inputs
  const Reason* no_graph = nullptr;  // or why not
  for (const Tensor& input : inputs) {
    const Handle* handle = Access::handle(input);
    values.push_back(recorder_.value_of(Access::handle(input), op->name(), where));
    const bool wanted = grad_enabled() && tape_.values[values.back()].requires_grad;
    if (wanted && values.size() <= 64) needs |= std::uint64_t{1} << (values.size() - 1);
    differentiable = differentiable || (wanted && handle->no_graph == nullptr);
    if (handle->no_graph != nullptr) no_graph = handle->no_graph;
  }
  if (!differentiable) needs = 0;
  tape_.under_no_grad = !grad_enabled();
  complete_ = false;  // as far as anybody knows: more may follow
  const NodeId id = recorder_.forward(op, values, Needs(needs), keys_, where);
  const Node& node = tape_.nodes[id];
  for (const Part& part : node.prepared->parts) {
    for (std::size_t k = 0; k < part.inputs.size(); ++k) {
      Handle* input = Access::handle(inputs[static_cast<std::size_t>(part.inputs[k])]);
      input->sparse = input->sparse || compute::is_sparse_rows(part.gx[k].layout);
    }
  }
  const std::size_t visible =
      node.prepared->visible < 0 ? node.outputs.size() : static_cast<std::size_t>(node.prepared->visible);
  for (std::size_t i = 0; i < visible; ++i) {
    outputs.push_back(Access::adopt(lifetimes_.handle_for(node.outputs[i])));
    if (!differentiable) Access::handle(outputs.back())->no_graph = no_graph;
  }
  run_recorded();
  return outputs;
}

ValueId Engine::loss_value(const Tensor& loss, std::string_view what, SourceLocation where) {
  Handle* handle = Access::handle(loss);
  const std::string call = absl::StrCat("[", std::string(what), "] ");
  const std::string place = absl::StrCat(" (at ", to_string(where), ")");
  if (handle->meta.shape.numel() != 1 || handle->meta.dtype != f32) {
    throw ShapeError(absl::StrCat(call, "a loss must be one f32 number; this one has shape ",
                                  handle->meta.shape.to_string(), place));
  }
  if (handle->no_graph != nullptr) {
    throw Error(absl::StrCat(call, "the loss made at ", to_string(handle->where),
                             " cannot go backward: ", handle->no_graph->text,
                             handle->no_graph->spent ? GradientPass::way_out(what) : "", place));
  }
  if (!handle->requires_grad) {
    throw Error(absl::StrCat(call, "the loss made at ", to_string(handle->where),
                             " depends on nothing that requires a gradient", place));
  }
  return recorder_.value_of(handle, what, where);
}

void Engine::backward(std::span<const Tensor> losses, BackwardOptions options, std::span<Handle* const> only,
                      SourceLocation where) {
  const std::string_view what = only.empty() ? "backward" : "minimize";
  let_go();
  std::vector<ValueId> values;
  check_owners(losses, what, where);
  for (const Tensor& loss : losses) values.push_back(loss_value(loss, what, where));
  GradientPass pass(tape_, storages_, lifetimes_, recorder_, what, where);
  pass.restrict_to(only);
  pass.check(values);
  if (!only.empty()) require_target(pass, losses.front(), where);
  record_pass(pass, values, options.retain_graph);
  graded_.insert(graded_.end(), pass.leaves().begin(), pass.leaves().end());

  // Small values that the program still holds, and the gradients, are there when backward returns.
  std::vector<Handle*> settling;
  std::vector<StorageId> held;
  const auto hold = [&](StorageId storage) {
    if (std::find(held.begin(), held.end(), storage) == held.end()) held.push_back(storage);
  };
  lifetimes_.for_each_computed([&](Handle* handle) {
    const Value& value = tape_.values[handle->value];
    if (!tape_.nodes[value.producer].retired || !handle->stays_readable()) return;
    settling.push_back(handle);
    hold(value.storage);
  });
  for (const Handle* leaf : graded_) {
    if (leaf->grad != nullptr) hold(leaf->grad->storage);
  }
  for (StorageId storage : held) recorder_.buffer_of(storage);
  std::sort(held.begin(), held.end(),
            [&](StorageId a, StorageId b) { return storages_[a].buffer < storages_[b].buffer; });
  for (StorageId storage : lifetimes_.begin_settling(settling)) advisor_.pin(storages_[storage].buffer);
  recorder_.hold(held, Recorder::HoldFor::kSettling, where);
  complete_ = true;
  or_abandon(tape_.executed, [&] {
    if (!advisor_.begun()) begin_step();
    enter_inputs();
    carry_out(advisor_.plan_rest(kept_buffers(tape_.graph)).steps, 0);
    if (!advisor_.follows_plan()) start_over();
  });
  run_recorded();
  pass_.reset();
  lifetimes_.settle(settling,
                    once({absl::StrCat("backward at ", to_string(where), " already went through its graph"), true}));
  collect();
}

void Engine::record_pass(GradientPass& pass, std::span<const ValueId> losses, bool retain) {
  pass_ = Pass{static_cast<OpId>(tape_.graph.ops.size()), {}, {}};
  const auto note_leaves = [&] {
    for (Handle* leaf : pass.leaves()) {
      pass_->leaves.push_back(leaf);
      if (leaf->grad != nullptr && !made_by_pass(leaf->grad)) pass_->existing.push_back(leaf->grad->storage);
    }
  };
  try {
    pass.record(losses, retain);
  } catch (const std::exception&) {
    note_leaves();
    or_abandon(tape_.executed, [] { throw; });
  }
  note_leaves();
}

bool Engine::made_by_pass(const Handle* grad) const {
  if (!pass_ || grad->generation != lifetimes_.generation()) return false;
  const NodeId producer = tape_.values[grad->value].producer;
  return producer != kNone && tape_.nodes[producer].op >= pass_->first;
}

void Engine::hint(const Handle* handle, Node::Hint hint) {
  if (!handle->computed(lifetimes_.generation())) return;
  NodeId id = tape_.values[handle->value].producer;
  while (id != kNone && tape_.nodes[id].op == kNone) {  // a view
    const Node& view = tape_.nodes[id];
    id = tape_.values[view.inputs[static_cast<std::size_t>(*view.prepared->view_of)]].producer;
  }
  if (id == kNone) return;
  constexpr double kWeight = 64;
  Node& node = tape_.nodes[id];
  node.hint = hint;
  tape_.graph.ops[node.op].cost = node.seconds * (hint == Node::Hint::kKeep ? kWeight : 1 / kWeight);
  tape_.hinted = true;
  // The next op's signature tells a step with these hints from one without.
  tape_.hints = tape_.hints * 31 + static_cast<std::uint64_t>(node.op) * 4 + static_cast<std::uint64_t>(hint);
}

void Engine::start_timeline() {
  timeline_.start(options_.budget);
  storages_.tell_all();
}

// --- running

void Engine::run_recorded() {
  while (tape_.executed < static_cast<OpId>(tape_.graph.ops.size())) run(tape_.executed);
}

void Engine::run(OpId op) {
  if (!advisor_.begun()) begin_step();
  enter_inputs();
  Advice advice;
  or_abandon(op + 1, [&] {
    binding_.check_team();
    advice = advisor_.advise(op);
    if (advice.shortage && start_over()) advice = advisor_.advise(op);
    carry_out(advice.steps, advice.shift);
  });
  if (advice.shortage) refuse(*advice.shortage, tape_.nodes[tape_.op_nodes[op]].where);
  finish_first_run(op, advice.planned || (updating_ && needs_no_room(tape_.graph.ops[op])));
}

// Nothing is to be planned for it: all that it uses lies in the pinned zone.
bool Engine::needs_no_room(const scheduler::Op& op) const {
  const auto pinned = [&](BufferId buffer) { return tape_.graph.buffers[buffer].pinned; };
  return op.scratch == 0 && op.writes.empty() && std::all_of(op.reads.begin(), op.reads.end(), pinned) &&
         std::all_of(op.updates.begin(), op.updates.end(), pinned);
}

void Engine::carry_out(std::span<const scheduler::Step> steps, std::int64_t shift) {
  replay_.run(steps, shift, [this](BufferId buffer) {
    const std::optional<std::size_t> carried = advisor_.unread(buffer);
    return carried ? carried_[*carried] : kNone;
  });
}

void Engine::begin_step() {
  const std::int64_t room = storages_.pack_pinned();
  carried_ = storages_.carried();
  Advisor::Begin begin;
  for (StorageId id : carried_) {
    begin.carried.push_back({storages_[id].key, Extents::round_up(storages_[id].bytes), storages_.room_offset(id)});
  }
  begin.done = tape_.sources;
  std::vector<StorageId> residents;
  for (OpId op = 0; op < tape_.sources; ++op) {
    const StorageId id = tape_.buffer_storage[tape_.graph.ops[op].writes.front()];
    if (!storages_[id].resident()) continue;
    residents.push_back(id);
    begin.residents.push_back({op, Extents::round_up(storages_[id].bytes), storages_.room_offset(id)});
  }
  const std::vector<std::int64_t> offsets = advisor_.begin(room, std::move(begin), [this](std::size_t i) {
    const BufferId buffer = recorder_.buffer_of(carried_[i]);
    entered_ = tape_.graph.buffers.size();
    return buffer;
  });
  std::vector<Storages::Target> targets;
  for (std::size_t i = 0; i < carried_.size(); ++i) targets.push_back({carried_[i], offsets[i]});
  for (std::size_t i = 0; i < residents.size(); ++i) {
    targets.push_back({residents[i], offsets[carried_.size() + i]});
  }
  storages_.arrange(targets);
  entered_ = 0;
}

void Engine::enter_inputs() {
  for (; entered_ < tape_.graph.buffers.size(); ++entered_) {
    const StorageId id = tape_.buffer_storage[entered_];
    if (!storages_[id].resident() || storages_[id].reproducible()) continue;  // an op writes it, or has written it
    const auto buffer = static_cast<BufferId>(entered_);
    if (tape_.graph.buffers[entered_].pinned) {
      advisor_.enter_pinned(buffer);
      continue;
    }
    const auto at = static_cast<std::size_t>(std::find(carried_.begin(), carried_.end(), id) - carried_.begin());
    const std::optional<std::size_t> other = advisor_.enter_carried(buffer, at);
    if (!other) continue;
    const Storages::Target targets[] = {{id, storages_.room_offset(carried_[*other])},
                                        {carried_[*other], storages_.room_offset(id)}};
    storages_.arrange(targets);
  }
}

void Engine::finish_first_run(OpId op, bool planned) {
  tape_.executed = op + 1;
  account_.first_run(planned, tape_.nodes[tape_.op_nodes[op]].seconds);
  const scheduler::Op& done = tape_.graph.ops[op];
  for (BufferId buffer : done.writes) {
    const StorageId id = tape_.buffer_storage[buffer];
    if (!storages_[id].reproducible()) advisor_.pin(buffer);
    lifetimes_.check_ended(id);
  }
  for (BufferId buffer : done.reads) lifetimes_.drop_read(tape_.buffer_storage[buffer]);
  for (BufferId buffer : done.updates) lifetimes_.drop_read(tape_.buffer_storage[buffer]);
  collect();
}

void Engine::collect() {
  for (StorageId id : lifetimes_.take_ended()) {
    Storage& storage = storages_[id];
    if (storage.buffer == kNone) {
      if (const auto at = std::find(carried_.begin(), carried_.end(), id); at != carried_.end()) {
        advisor_.forget_carried(static_cast<std::size_t>(at - carried_.begin()));
        *at = kNone;
      }
      storages_.destroy(id);
    } else if (storage.reproducible()) {
      tape_.ends.emplace_back(tape_.executed - 1, storage.buffer);
      carry_out(advisor_.release(storage.buffer).steps, 0);
    } else {
      storage.ending = true;
      letting_go_.push_back(id);
    }
  }
}

void Engine::let_go() {
  collect();
  while (!letting_go_.empty()) {
    const std::vector<StorageId> gone = std::exchange(letting_go_, {});
    recorder_.hold(gone, Recorder::HoldFor::kLastUse, {});
    run_recorded();
    for (StorageId id : gone) {
      carry_out(advisor_.release(storages_[id].buffer).steps, 0);
      storages_.drop(id);
      tape_.history.push_back({scheduler::Step::Kind::kDrop, storages_[id].buffer});
      advisor_.gone(storages_[id].buffer);
    }
    collect();
  }
}

bool Engine::start_over() {
  constexpr int kMostInAStep = 16;  // each one runs everything up to here once more
  if (!options_.budget || started_over_ == kMostInAStep) return false;
  std::vector<bool> ran_for_good(static_cast<std::size_t>(tape_.executed));
  for (OpId op = 0; op < tape_.executed; ++op) {
    ran_for_good[static_cast<std::size_t>(op)] = tape_.graph.ops[op].once;
  }
  const auto inputs = advisor_.plan_again(kept_buffers(tape_.graph), ran_for_good);
  if (!inputs) return false;
  ++started_over_;
  tape_.history.clear();
  std::vector<Storages::Target> targets;
  std::vector<bool> stays(tape_.buffer_storage.size(), false);
  for (const scheduler::Placement& input : *inputs) {
    targets.push_back({tape_.buffer_storage[input.buffer], input.offset});
    stays[static_cast<std::size_t>(input.buffer)] = true;
  }
  for (std::size_t b = 0; b < stays.size(); ++b) {
    if (!stays[b] && !tape_.graph.buffers[b].pinned) storages_.drop(tape_.buffer_storage[b]);
  }
  storages_.arrange(targets);
  for (OpId op = tape_.sources; op < tape_.executed; ++op) {
    const Advice advice = advisor_.advise(op);
    const std::size_t skipped = ran_for_good[static_cast<std::size_t>(op)] ? 1 : 0;  // its own run, the last step
    carry_out(advice.steps.first(advice.steps.size() - skipped), advice.shift);
  }
  return true;
}

std::vector<BufferId> Engine::kept_buffers(const scheduler::Graph& graph) const {
  std::vector<BufferId> kept;
  for (std::size_t b = 0; b < tape_.buffer_storage.size(); ++b) {
    const Storage& storage = storages_[tape_.buffer_storage[b]];
    if (storage.reproducible()) continue;
    // What the step's end lets go of was there for backward until then.
    const bool needed = storage.handles + storage.reads > 0 || (storage.ending && storage.resident());
    if (graph.buffers[b].pinned || needed) kept.push_back(static_cast<BufferId>(b));
  }
  for (const LeafSource& source : sources_) {
    if (!source.resident || source.handles == 0 || source.generation != lifetimes_.generation()) continue;
    kept.push_back(storages_[tape_.values[source.value].storage].buffer);
  }
  return kept;
}

void Engine::handle_died(Handle* handle) noexcept {
  if (half_done_) return;  // it goes with the session
  quietly([&] {
    LeafSource* const source = handle->source;
    lifetimes_.died(handle);
    if (source != nullptr && source->handles == 0 && tape_.empty()) drop_kept(*source);
    if (busy_) return;
    const Busy busy(busy_);
    let_go();
  });
}

void Engine::zero_grad(Handle* leaf) {
  graded_.erase(std::remove(graded_.begin(), graded_.end(), leaf), graded_.end());
  if (Handle* grad = std::exchange(leaf->grad, nullptr)) {
    lifetimes_.release(grad);
    let_go();
  }
}

void Engine::set_step(std::int64_t step) { set_keys(step, 0); }

void Engine::set_keys(std::int64_t step, std::uint32_t ordinal) {
  keys_.step = step;
  keys_.ordinal = ordinal;
}

}  // namespace tidemark::detail
