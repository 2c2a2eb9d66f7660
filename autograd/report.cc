// What happened, in words and numbers.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "core/extents.h"

namespace tidemark {
namespace detail {
namespace {

// VmRSS and VmHWM of this process in bytes; 0 where the kernel does not say.
std::int64_t process_bytes(const char* key) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/status", "r"), std::fclose);
  if (file == nullptr) return 0;
  char line[256];
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) return std::atoll(line + std::strlen(key) + 1) * 1024;
  }
  return 0;
}

}  // namespace

// What stays while the op runs and is not among its inputs; the sum is shortage.pinned.
std::string Engine::pinned_by_category(const scheduler::Shortage& shortage) const {
  std::array<std::int64_t, kCategories> bytes{};
  std::int64_t others = shortage.pinned;
  const auto input = [&](BufferId buffer) {
    if (shortage.op == kNone || buffer == kNone) return false;
    const scheduler::Op& op = tape_.graph.ops[shortage.op];
    return std::find(op.reads.begin(), op.reads.end(), buffer) != op.reads.end() ||
           std::find(op.updates.begin(), op.updates.end(), buffer) != op.updates.end();
  };
  for (const Storage& storage : storages_.all()) {
    if (storage.reproducible() || !storage.resident() || input(storage.buffer)) continue;
    const std::int64_t rounded = core::Extents::round_up(storage.bytes);
    bytes[static_cast<std::size_t>(storage.category)] += rounded;
    others -= rounded;
  }
  std::string text;
  const auto add = [&](const std::string& what, std::int64_t count) {
    if (count > 0) absl::StrAppend(&text, text.empty() ? "" : ", ", what, " ", format_bytes(count));
  };
  for (std::size_t c = 0; c < bytes.size(); ++c) add(std::string(to_string(static_cast<Category>(c))), bytes[c]);
  add("values that are held", others);
  return text.empty() ? "nothing of the model yet" : text;
}

// Without a budget nothing is computed twice, so a value has to stay as long as the program may read it.
void Engine::keep_what_is_held(scheduler::Graph& graph) const {
  std::vector<OpId> written(graph.buffers.size(), kNone);
  for (std::size_t op = 0; op < graph.ops.size(); ++op) {
    for (BufferId buffer : graph.ops[op].writes) written[buffer] = static_cast<OpId>(op);
  }
  for (const auto& [op, buffer] : tape_.ends) {
    if (op <= written[buffer]) continue;
    std::vector<BufferId>& reads = graph.ops[op].reads;
    if (std::find(reads.begin(), reads.end(), buffer) == reads.end()) reads.push_back(buffer);
  }
  for (std::size_t b = 0; b < tape_.buffer_storage.size(); ++b) {
    const Storage& storage = storages_[tape_.buffer_storage[b]];
    if (storage.reproducible() && storage.resident() && storage.handles > 0) {
      graph.keep.push_back(static_cast<BufferId>(b));
    }
  }
}

// Buffers of the tape in the order of first use, without those that no op uses.
std::vector<BufferId> Engine::used_buffers() const {
  std::vector<BufferId> buffers(static_cast<std::size_t>(tape_.wire_count), kNone);
  for (std::size_t b = 0; b < tape_.wires.size(); ++b) {
    if (tape_.wires[b] != kNone) buffers[static_cast<std::size_t>(tape_.wires[b])] = static_cast<BufferId>(b);
  }
  return buffers;
}

// The graph as the advisor knows it again, with these buffers in place of the tape's.
scheduler::Graph Engine::room_graph(std::span<const BufferId> buffers) const {
  scheduler::Graph graph = tape_.graph;
  graph.name = absl::StrCat("step ", keys_.step + 1);
  graph.keep = kept_buffers(graph);
  if (!options_.budget) keep_what_is_held(graph);
  // What has settled is not computed again, as what it was computed from may change: to a plan that is an update.
  const auto settled = [&](BufferId buffer) {
    const Storage& storage = storages_[tape_.buffer_storage[buffer]];
    return !storage.reproducible() && storage.category != Category::kGradients && !graph.buffers[buffer].pinned;
  };
  for (const Node& node : tape_.nodes) {
    if (!node.settles) continue;
    scheduler::Op& hold = graph.ops[node.op];
    const auto at =
        std::stable_partition(hold.reads.begin(), hold.reads.end(), [&](BufferId b) { return !settled(b); });
    hold.updates.assign(at, hold.reads.end());
    hold.reads.erase(at, hold.reads.end());
  }
  const auto wire = [&](BufferId& buffer) { buffer = tape_.wires[buffer]; };
  std::vector<scheduler::Buffer> wired;
  wired.reserve(buffers.size());
  for (BufferId buffer : buffers) wired.push_back(graph.buffers[buffer]);
  graph.buffers = std::move(wired);
  for (scheduler::Op& op : graph.ops) {
    for (auto* list : {&op.reads, &op.writes, &op.updates}) std::for_each(list->begin(), list->end(), wire);
    for (auto& [read, write] : op.overwrites) {
      wire(read);
      wire(write);
    }
  }
  std::for_each(graph.keep.begin(), graph.keep.end(), wire);
  graph.keep.erase(std::remove(graph.keep.begin(), graph.keep.end(), kNone), graph.keep.end());
  return graph;
}

// As people see it: what lies in the pinned zone has its bytes, and what the step does not read is there as well.
scheduler::Graph Engine::real_graph(scheduler::Graph graph) const {
  graph.name = absl::StrCat("step ", keys_.step + 1);
  graph.keep = kept_buffers(graph);
  for (std::size_t b = 0; b < tape_.buffer_storage.size(); ++b) {
    if (graph.buffers[b].pinned)
      graph.buffers[b].bytes = core::Extents::round_up(storages_[tape_.buffer_storage[b]].bytes);
  }
  for (const Storage& storage : storages_.all()) {
    if (storage.reproducible() || !storage.resident() || storage.buffer != kNone) continue;
    graph.buffers.push_back({core::Extents::round_up(storage.bytes), storage.name, true});
  }
  return graph;
}

scheduler::Graph Engine::graph() const {
  const Tape& tape = tape_.empty() ? last_tape_ : tape_;
  scheduler::Graph graph = tape_.empty() ? last_tape_.graph : real_graph(tape_.graph);
  for (const Node& node : tape.nodes) {
    if (node.op != kNone && node.where.line > 0)
      absl::StrAppend(&graph.ops[node.op].name, " at ", to_string(node.where));
  }
  return graph;
}

Report Engine::report() const {
  const memory::Arena& arena = storages_.arena();
  const auto& ledger = arena.ledger();
  Report report;
  report.budget = options_.budget;
  report.peak_bytes = ledger.peak();
  report.reserved_bytes = arena.reserved_peak();
  report.live_bytes = ledger.total();
  report.rss_bytes = process_bytes("VmRSS");
  report.rss_peak_bytes = process_bytes("VmHWM");
  for (int c = 0; c < kCategories; ++c) {
    report.live_by_category[c] = ledger.live(static_cast<Category>(c));
    report.peak_by_category[c] = ledger.peak_by_category()[static_cast<std::size_t>(c)];
    report.most_by_category[c] = ledger.most(static_cast<Category>(c));
  }
  report.primitives = machine_.kernels_made();
  account_.fill(report);
  const Planning& planning = advisor_.planning();
  report.plans = planning.plans;
  report.replans = planning.replans;
  report.replan_reason = planning.replan_reason;
  report.plan_seconds = planning.seconds;
  const std::vector<bool> waiting = lifetimes_.waiting_nodes();
  for (std::size_t n = 0; n < waiting.size(); ++n) {
    if (!waiting[n]) continue;
    if (report.waiting_nodes++ == 0) report.waiting_since = to_string(tape_.nodes[n].where);
  }
  return report;
}

void Engine::refuse(const scheduler::Shortage& of_room, SourceLocation where) {
  scheduler::Shortage shortage = of_room;
  if (shortage.op != kNone) {
    shortage.pinned += storages_.pinned_end();
    shortage.needed += storages_.pinned_end();
  }
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
  std::int64_t needed = shortage.needed;
  BudgetError::Needed figure = BudgetError::Needed::kAtLeast;
  std::optional<Advisor::Smallest> smallest;
  if (options_.budget && shortage.op != kNone) smallest = advisor_.smallest_room(kept_buffers(tape_.graph), complete_);
  if (smallest) smallest->room += storages_.pinned_end();
  if (smallest && smallest->whole && smallest->room > *options_.budget) {
    needed = smallest->room;
    figure = smallest->exact ? BudgetError::Needed::kExactly : BudgetError::Needed::kPlanned;
    absl::StrAppend(&text, "\n  help: the smallest budget ", smallest->exact ? "" : "planned ", "for this step is ",
                    format_bytes_up(needed));
  } else {
    if (smallest) needed = std::max(needed, smallest->room);
    std::string least = format_bytes_up(needed);
    if (least == limit) least = absl::StrCat(needed, " B");  // the same to one decimal
    absl::StrAppend(&text, "\n  help: this step takes at least ", least, " up to here");
    if (options_.budget) absl::StrAppend(&text, "; smallest_budget() tells the whole before the first step");
  }
  absl::StrAppend(
      &text, options_.budget ? "; give it a larger budget, or make the batch smaller" : "; make the batch smaller");
  const std::string reason = absl::StrCat("the step was refused at ", to_string(where), ": the budget cannot hold it");
  if (abandon_step(reason, tape_.executed)) absl::StrAppend(&text, "\n  ", kGradientsGone);
  throw BudgetError(text, needed, figure);
}

}  // namespace detail

std::string Report::summary() const {
  std::string text = "peak ";
  absl::StrAppend(&text, format_bytes(peak_bytes));
  if (budget) absl::StrAppend(&text, " of ", format_bytes(*budget));
  absl::StrAppend(&text, ", ", last_step.recomputed_ops, " ops recomputed a step");
  if (plan_cost > 0) {
    char work[80];
    std::snprintf(work, sizeof work, ", +%.1f %% work (bound +%.1f %%)", 100 * plan_cost, 100 * plan_bound);
    text += work;
  }
  return text;
}

}  // namespace tidemark
