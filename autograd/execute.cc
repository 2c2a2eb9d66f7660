// Running: the plan or the online policy gives steps, and this is the only code that carries them out. The arena checks
// every placement, so a wrong step is an exception and never a byte over the budget or over another value.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/check.h"
#include "autograd/engine.h"

namespace tidemark::detail {
namespace {

using Clock = std::chrono::steady_clock;
using scheduler::Step;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::uint64_t hash_bytes(const std::byte* bytes, std::int64_t count) {
  std::uint64_t hash = 0x9E3779B97F4A7C15u ^ static_cast<std::uint64_t>(count);
  for (std::int64_t i = 0; i < count; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, static_cast<std::size_t>(std::min<std::int64_t>(8, count - i)));
    hash = (hash ^ word) * 0xFF51AFD7ED558CCDu;
    hash ^= hash >> 32;
  }
  return hash;
}

void add_floats(const float* a, const float* b, float* out, std::int64_t count, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

}  // namespace

std::byte* Engine::data(const Value& value) {
  const Storage& storage = storages_[value.storage];
  if (storage.offset == kNone) throw std::logic_error("a kernel reads a discarded value");
  return arena_.at(storage.offset) + value.offset;
}

Buf Engine::buf(ValueId id) {
  const Value& value = tape_.values[id];
  return {data(value), &value.meta, false};
}

std::vector<scheduler::Placement> Engine::residents() const {
  std::vector<scheduler::Placement> resident;
  for (std::size_t b = 0; b < tape_.buffer_storage.size(); ++b) {
    const Storage& storage = storages_[tape_.buffer_storage[b]];
    if (storage.buffer == static_cast<BufferId>(b) && storage.offset != kNone) {
      resident.push_back({static_cast<BufferId>(b), storage.offset});
    }
  }
  return resident;
}

void Engine::place_bytes(StorageId id, std::int64_t offset) {
  Storage& storage = storages_[id];
  arena_.place(offset, storage.bytes, id, storage.category);
  storage.offset = offset;
}

void Engine::drop_bytes(Storage& storage) {
  if (storage.offset == kNone) return;
  arena_.release(storage.offset);
  storage.offset = kNone;
}

void Engine::go_online() {
  plan_ = nullptr;
  followed_ = nullptr;
  online_ = std::make_unique<scheduler::Online>(tape_.graph, options_.budget.value_or(arena_.extents().limit()),
                                                scheduler::Start{tape_.executed, residents()});
  std::vector<Step> steps;
  for (std::size_t b = 0; b < tape_.buffer_storage.size(); ++b) {
    const auto buffer = static_cast<BufferId>(b);
    const Storage& storage = storages_[tape_.buffer_storage[b]];
    if (storage.buffer == buffer && storage.persistent) online_->pin(buffer);
  }
  for (const scheduler::Placement& placement : residents()) {
    const Storage& storage = storages_[tape_.buffer_storage[placement.buffer]];
    if (!storage.persistent && storage.handles + storage.reads == 0) online_->release(placement.buffer, steps);
  }
  // What the plan has dropped for good as well: else it counts as held by the program, and comes back before an update.
  for (OpId op = 0; op < tape_.executed; ++op) {
    for (BufferId buffer : tape_.graph.ops[op].writes) {
      const Storage& storage = storages_[tape_.buffer_storage[buffer]];
      if (!storage.persistent && storage.handles + storage.reads == 0) online_->release(buffer, steps);
    }
  }
  run_steps(steps);
}

bool Engine::follows_plan(OpId op) const {
  if (op >= plan_end_) return false;
  return followed_ == nullptr || followed_->signatures[op] == tape_.signatures[op];
}

void Engine::choose_plan() {
  if (!options_.budget || options_.dry_run) return;
  const std::vector<scheduler::Placement> start = residents();
  // The longest first: a step that is another's beginning (a micro-batch before the last) can follow the other's plan.
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const PlanEntry& a, const PlanEntry& b) { return a.signatures.size() > b.signatures.size(); });
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->signatures.front() != tape_.signatures.front() || entry->persistent != persistent_buffers_) continue;
    const auto same = [](const scheduler::Buffer& a, const scheduler::Buffer& b) {
      return a.bytes == b.bytes && a.pinned == b.pinned;
    };
    if (!std::equal(entry->graph.buffers.begin(), entry->graph.buffers.begin() + persistent_buffers_,
                    tape_.graph.buffers.begin(), same)) {
      continue;
    }
    if (!same_start(*entry, start)) {
      const auto began = Clock::now();
      entry->start = start;
      // Where there is none the online policy may still get through, and names the op where it cannot.
      entry->plan = scheduler::try_plan(entry->graph, *options_.budget,
                                        {.seed = options_.seed, .start = scheduler::Start{0, start}});
      plan_seconds_ += seconds_since(began);
    }
    if (!entry->plan) continue;
    followed_ = &*entry;
    plan_ = &*followed_->plan;
    step_plans_.cost += plan_->cost;
    step_plans_.base_cost += plan_->base_cost;
    step_plans_.lower_bound += std::max(plan_->lower_bound, plan_->base_cost);
    plan_end_ = static_cast<OpId>(followed_->signatures.size());
    plan_cursor_ = 0;
    return;
  }
}

bool Engine::same_start(const PlanEntry& entry, const std::vector<scheduler::Placement>& start) const {
  // Pinned buffers only stand in the way, so it does not matter which of them stands where (batches change places).
  auto key = [&](const std::vector<scheduler::Placement>& placements) {
    std::vector<std::pair<std::int64_t, std::int64_t>> out;
    for (const scheduler::Placement& p : placements) {
      const scheduler::Buffer& buffer = tape_.graph.buffers[p.buffer];
      out.emplace_back(p.offset, buffer.pinned ? buffer.bytes : -1 - p.buffer);
    }
    std::sort(out.begin(), out.end());
    return out;
  };
  return !entry.start.empty() && key(entry.start) == key(start);
}

void Engine::plan_rest() {
  if (!options_.budget || options_.dry_run || plan_ != nullptr) return;
  const auto began = Clock::now();
  scheduler::Graph graph = export_graph();
  rest_plan_ = scheduler::try_plan(graph, *options_.budget,
                                   {.seed = options_.seed, .start = scheduler::Start{tape_.executed, residents()}});
  if (rest_plan_) {
    online_.reset();
    plan_ = &*rest_plan_;
    followed_ = nullptr;
    plan_end_ = static_cast<OpId>(graph.ops.size());
    plan_cursor_ = 0;
  }  // else the online policy goes on; it names the op where it cannot
  plan_seconds_ += seconds_since(began);
}

void Engine::execute_up_to_end() {
  executing_ = true;
  while (tape_.executed < static_cast<OpId>(tape_.graph.ops.size())) execute(tape_.executed);
  executing_ = false;
  flush_letting_go();
}

void Engine::execute(OpId op) {
  if (op == 0) choose_plan();
  if (plan_ != nullptr && !follows_plan(op)) go_online();
  try {
    if (plan_ != nullptr) {
      bool ran = false;
      while (plan_cursor_ < plan_->steps.size()) {
        const Step& step = plan_->steps[plan_cursor_];
        if (ran && step.kind != Step::Kind::kDrop) break;
        ++plan_cursor_;
        ran = ran || (step.kind == Step::Kind::kRun && step.id == op);
        run_step(step);
      }
      if (!ran) throw std::logic_error("the plan ends before the program");
    } else {
      if (online_ == nullptr) go_online();
      steps_.clear();
      if (auto shortage = online_->admit(op, steps_)) refuse(*shortage, tape_.nodes[tape_.op_nodes[op]].where);
      run_steps(steps_);
    }
  } catch (const BudgetError&) {
    throw;
  } catch (const std::exception& error) {
    abandon_step(absl::StrCat("the step was abandoned: ", error.what()));
    throw;
  }
  finish_first_run(op);
}

void Engine::finish_first_run(OpId op) {
  tape_.executed = op + 1;
  ++current_.ops;
  if (followed_ == nullptr) ++unplanned_ops_;
  const scheduler::Op& done = tape_.graph.ops[op];
  // By value: letting go may append to the graph.
  const std::vector<BufferId> reads = done.reads;
  const std::vector<BufferId> updates = done.updates;
  const std::vector<BufferId> writes = done.writes;
  for (BufferId buffer : writes) {
    const StorageId id = tape_.buffer_storage[buffer];
    if (storages_[id].persistent && online_ != nullptr) online_->pin(buffer);
    let_go_if_unneeded(id);
  }
  for (const auto* list : {&reads, &updates}) {
    for (BufferId buffer : *list) drop_reads(tape_.buffer_storage[buffer]);
  }
}

void Engine::run_steps(const std::vector<Step>& steps) {
  for (const Step& step : steps) run_step(step);
}

void Engine::run_step(const Step& step) {
  if (step.kind == Step::Kind::kDrop) {
    drop_bytes(storages_[tape_.buffer_storage[step.id]]);
    return;
  }
  if (step.kind == Step::Kind::kMove) {
    Storage& storage = storages_[tape_.buffer_storage[step.id]];
    if (storage.offset == kNone || storage.offset == step.offset) return;
    arena_.move(storage.offset, step.offset);
    storage.offset = step.offset;
    return;
  }
  Node& node = tape_.nodes[tape_.op_nodes[step.id]];
  const auto began = node.ran ? Clock::now() : Clock::time_point();

  // Operands first: an output may take an operand's place.
  std::vector<Buf> reads;
  if (!options_.dry_run) {
    for (ValueId id : node.reads) reads.push_back(buf(id));
  }
  for (const auto& [read, write] : step.overwrites) drop_bytes(storages_[tape_.buffer_storage[read]]);
  std::vector<bool> valid;
  for (ValueId id : node.outputs) valid.push_back(storages_[tape_.values[id].storage].offset != kNone);
  std::int64_t scratch = kNone;
  for (const scheduler::Placement& place : step.places) {
    if (place.buffer == scheduler::kScratch) {
      scratch = place.offset;
      arena_.place(scratch, tape_.graph.ops[step.id].scratch, kNone, Category::kScratch);
    } else if (storages_[tape_.buffer_storage[place.buffer]].offset == kNone) {
      place_bytes(tape_.buffer_storage[place.buffer], place.offset);
    }
  }
  fixed_peak_ = std::max(fixed_peak_, fixed_bytes());
  if (!options_.dry_run) {
    try {
      run_kernel(node, reads, valid, scratch == kNone ? nullptr : arena_.at(scratch));
    } catch (...) {
      if (scratch != kNone) arena_.release(scratch);
      rethrow_at(tape_.graph.ops[step.id].name, node.where);
    }
  }
  if (scratch != kNone) arena_.release(scratch);
  if (options_.verify_replay && !options_.dry_run) verify(node);
  if (node.ran) {
    ++node.replays;
    ++current_.recomputed_ops;
    current_.recompute_seconds += seconds_since(began);
  }
  node.ran = true;
}

void Engine::run_kernel(const Node& node, std::span<const Buf> reads, const std::vector<bool>& valid,
                        std::byte* scratch) {
  std::vector<Buf> outputs;
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    outputs.push_back(buf(node.outputs[i]));
    outputs.back().valid = valid[i];
  }
  switch (node.kind) {
    case Node::Kind::kForward: {
      Ctx ctx(*machine_, node.prepared->state.get(), scratch, node.key, false);
      node.any_op->forward(ctx, reads, outputs);
      break;
    }
    case Node::Kind::kPart: {
      Ctx ctx(*machine_, node.prepared->state.get(), scratch, node.key, node.accumulate);
      const Part& part = node.prepared->parts[static_cast<std::size_t>(node.part)];
      if (node.accumulate) outputs.push_back(buf(node.updates.front()));
      node.any_op->backward(ctx, node.part, reads.first(part.saved.size()), reads.subspan(part.saved.size()), outputs);
      break;
    }
    case Node::Kind::kReorder:
      machine_->run_reorder(*node.kernel, *reads[0].meta, reads[0].data, *outputs[0].meta, outputs[0].data, scratch);
      break;
    case Node::Kind::kSum:
      add_floats(reads[0].as(), reads[1].as(), outputs[0].as(), outputs[0].meta->bytes / 4, machine_->threads());
      break;
    case Node::Kind::kAccumulate: {
      const Buf total = buf(node.updates.front());
      add_floats(total.as(), reads[0].as(), total.as(), total.numel(), machine_->threads());
      break;
    }
    case Node::Kind::kFill:
      std::fill_n(outputs[0].as(), outputs[0].meta->bytes / 4, node.fill);
      break;
    case Node::Kind::kHold:
    case Node::Kind::kLeaf:
      break;
  }
}

void Engine::verify(const Node& node) {
  if (!node.updates.empty() || node.kind == Node::Kind::kLeaf) return;
  for (ValueId id : node.outputs) {
    const Value& value = tape_.values[id];
    Storage& storage = storages_[value.storage];
    std::uint64_t hash = 0;
    const Meta plain = Meta::plain(value.meta.shape, value.meta.dtype);
    if (value.meta.bytes == plain.bytes) {
      hash = hash_bytes(data(value), value.meta.bytes);
    } else {  // a padded layout: only elements count
      std::vector<std::byte> elements(static_cast<std::size_t>(plain.bytes));
      const auto kernel = machine_->reorder(value.meta, plain);
      machine_->run_reorder(*kernel, value.meta, data(value), plain, elements.data(), nullptr);
      hash = hash_bytes(elements.data(), plain.bytes);
    }
    if (storage.hashed && storage.hash != hash) {
      throw Error(absl::StrCat("verify_replay: ", tape_.graph.ops[node.op].name, " at ", to_string(node.where),
                               " gave other bits when it was computed again; a forward must be a pure function of its "
                               "inputs, attributes and ctx.rng()"));
    }
    storage.hash = hash;
    storage.hashed = true;
  }
}

void Engine::make_resident(StorageId id, SourceLocation where) {
  if (storages_[id].offset != kNone) return;
  if (online_ == nullptr) go_online();
  std::vector<Step> steps;
  if (auto shortage = online_->restore(storages_[id].buffer, steps)) refuse(*shortage, where);
  run_steps(steps);
}

void Engine::refuse(const scheduler::Shortage& shortage, SourceLocation where) {
  const std::string limit = options_.budget ? format_bytes(*options_.budget) : "this machine";
  std::string text = absl::StrCat(limit, " cannot hold ");
  if (shortage.op == kNone) {
    absl::StrAppend(&text, "a leaf at ", to_string(where));
  } else {
    const Node& node = tape_.nodes[tape_.op_nodes[shortage.op]];
    absl::StrAppend(&text, tape_.graph.ops[shortage.op].name, " at ", to_string(node.where));
  }
  absl::StrAppend(&text, "\n  it needs  ", format_bytes(shortage.inputs + shortage.outputs + shortage.scratch),
                  ": inputs ", format_bytes(shortage.inputs), ", output ", format_bytes(shortage.outputs),
                  ", scratchpad ", format_bytes(shortage.scratch));
  absl::StrAppend(&text, "\n  pinned    ", format_bytes(shortage.pinned), ": ", pinned_by_category(shortage));
  if (shortage.pinned + shortage.inputs + shortage.outputs + shortage.scratch < shortage.needed) {
    absl::StrAppend(&text, "\n  besides   what it takes to compute its inputs again");
  }
  const std::string needed = format_bytes(shortage.needed);
  absl::StrAppend(
      &text, "\n  help: this step takes ", needed == limit ? "more than " : "at least ", needed,
      options_.budget ? "; give it a larger budget, or make the batch smaller" : "; make the batch smaller");
  abandon_step(absl::StrCat("the step was refused at ", to_string(where), ": the budget cannot hold it"));
  throw BudgetError(text, shortage.needed, false);
}

}  // namespace tidemark::detail
