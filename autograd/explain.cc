// The fate of each value of a step, and why.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "core/extents.h"

namespace tidemark {
namespace detail {
namespace {

using core::Extents;
using scheduler::Step;

// What happened to one buffer.
struct Life {
  std::int64_t runs = 0;  // of what writes it, while it was not in memory
  OpId dropped_after = kNone;
  OpId discarded_after = kNone;
  OpId recomputed_for = kNone;
  OpId last_use = kNone;
  bool live_at_peak = false;
};

// The step again, in bytes alone.
class Course {
 public:
  Course(const scheduler::Graph& graph, const std::vector<std::pair<Step::Kind, std::int32_t>>& history)
      : graph_(graph),
        lives_(graph.buffers.size()),
        live_(graph.buffers.size(), true),
        producer_(graph.buffers.size(), kNone) {
    for (std::size_t op = 0; op < graph.ops.size(); ++op) {
      for (BufferId b : graph.ops[op].writes) {
        live_[static_cast<std::size_t>(b)] = false;
        producer_[static_cast<std::size_t>(b)] = static_cast<OpId>(op);
      }
      for (const auto* list : {&graph.ops[op].reads, &graph.ops[op].updates}) {
        for (BufferId b : *list) life(b).last_use = static_cast<OpId>(op);
      }
    }
    for (std::size_t b = 0; b < live_.size(); ++b) total_ += live_[b] ? graph.buffers[b].bytes : 0;
    std::vector<std::int64_t> ran(graph.ops.size(), 0);
    OpId frontier = kNone;  // the op whose first run came last
    std::vector<OpId> again;
    for (const auto& [kind, id] : history) {
      if (kind == Step::Kind::kDrop) {
        drop(id, frontier);
        continue;
      }
      if (ran[static_cast<std::size_t>(id)]++ == 0) {
        // What has run again since the last first run was needed by this one.
        for (OpId op : std::exchange(again, {})) {
          for (BufferId b : graph.ops[static_cast<std::size_t>(op)].writes) {
            if (life(b).recomputed_for == kNone) life(b).recomputed_for = id;
          }
        }
        frontier = id;
      } else {
        again.push_back(id);
      }
      run(id);
    }
  }

  const Life& life_of(BufferId b) const { return lives_[static_cast<std::size_t>(b)]; }
  const std::vector<BufferId>& at_peak() const { return at_peak_; }
  OpId peak_op() const { return peak_op_; }
  std::int64_t peak() const { return peak_; }

 private:
  Life& life(BufferId b) { return lives_[static_cast<std::size_t>(b)]; }

  void drop(BufferId b, OpId after) {
    const auto at = static_cast<std::size_t>(b);
    if (!live_[at]) return;
    live_[at] = false;
    total_ -= graph_.buffers[at].bytes;
    life(b).dropped_after = after;
  }

  void run(OpId id) {
    const scheduler::Op& op = graph_.ops[static_cast<std::size_t>(id)];
    for (BufferId b : op.writes) {
      const auto at = static_cast<std::size_t>(b);
      if (live_[at]) continue;
      // Given up while a reader was still to come, as it shows now.
      if (life(b).runs++ > 0 && life(b).discarded_after == kNone && life(b).dropped_after < life(b).last_use) {
        life(b).discarded_after = life(b).dropped_after;
      }
      live_[at] = true;
      total_ += graph_.buffers[at].bytes;
    }
    if (total_ + op.scratch <= peak_) return;
    peak_ = total_ + op.scratch;
    peak_op_ = id;
    at_peak_.clear();
    for (std::size_t b = 0; b < live_.size(); ++b) {
      if (live_[b]) at_peak_.push_back(static_cast<BufferId>(b));
    }
  }

  const scheduler::Graph& graph_;
  std::vector<Life> lives_;
  std::vector<bool> live_;
  std::vector<OpId> producer_;
  std::int64_t total_ = 0;
  std::int64_t peak_ = 0;
  OpId peak_op_ = kNone;
  std::vector<BufferId> at_peak_;
};

std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g ms", 1e3 * seconds);
  return text;
}

// Seconds of computing again for each MiB that this frees.
double price(double seconds, std::int64_t bytes) {
  return seconds / (static_cast<double>(std::max<std::int64_t>(bytes, 1)) / static_cast<double>(1_MiB));
}

}  // namespace

Explanation Engine::explanation(int offers) const {
  const Tape& tape = tape_.empty() ? last_tape_ : tape_;
  const scheduler::Graph graph = tape_.empty() ? last_tape_.graph : real_graph(tape_.graph);
  const auto place_of = [&](OpId op) {
    if (op == kNone) return std::string();
    const Node& node = tape.nodes[tape.op_nodes[op]];
    const std::string& name = graph.ops[static_cast<std::size_t>(op)].name;
    return node.where.line > 0 ? absl::StrCat(name, " at ", to_string(node.where)) : name;
  };
  const Course course(graph, tape.history);
  std::vector<bool> at_peak(graph.buffers.size(), false);
  for (BufferId b : course.at_peak()) at_peak[static_cast<std::size_t>(b)] = true;

  Explanation result;
  result.budget = options_.budget;
  result.peak_bytes = course.peak();
  result.peak_op = place_of(course.peak_op());
  double once = 0;
  double again = 0;
  double dearest = 0;  // of what was discarded
  for (const Node& node : tape.nodes) {
    if (node.op == kNone || !node.ran) continue;
    const scheduler::Op& op = graph.ops[static_cast<std::size_t>(node.op)];
    const bool file = node.kind == Node::Kind::kFile;
    if (!file) once += node.seconds;
    again += node.seconds * (node.replays + (file && node.op >= tape.sources ? 1 : 0));
    for (std::size_t k = 0; k < node.outputs.size(); ++k) {
      const ValueId id = node.outputs[k];
      const BufferId b = k < op.writes.size() ? op.writes[k] : kNone;
      Explanation::Value value;
      value.op = op.name;
      value.where = to_string(node.where);
      value.shape = tape.values[id].meta.shape.to_string();
      value.bytes = b == kNone ? tape.values[id].meta.bytes : graph.buffers[static_cast<std::size_t>(b)].bytes;
      value.seconds = node.seconds;
      if (b != kNone) {
        const Life& life = course.life_of(b);
        value.runs = life.runs;
        value.live_at_peak = at_peak[static_cast<std::size_t>(b)];
        value.discarded_after = place_of(life.discarded_after);
        value.recomputed_for = place_of(life.recomputed_for);
        if (life.discarded_after != kNone) {
          value.fate = Explanation::Fate::kDiscarded;
          dearest = std::max(dearest, price(value.seconds, value.bytes));
        }
      }
      if (op.once) value.fate = Explanation::Fate::kPinned;
      result.values.push_back(std::move(value));
    }
  }
  for (std::size_t i = 0, n = 0; n < tape.nodes.size(); ++n) {
    const Node& node = tape.nodes[n];
    if (node.op == kNone || !node.ran) continue;
    for (std::size_t k = 0; k < node.outputs.size(); ++k, ++i) {
      Explanation::Value& value = result.values[i];
      const std::string own = absl::StrCat(milliseconds(price(value.seconds, value.bytes)), " a MiB");
      if (node.hint == Node::Hint::kKeep) value.why = "the program asked to keep it; ";
      if (node.hint == Node::Hint::kRecompute) value.why = "the program asked to compute it again; ";
      if (node.kind == Node::Kind::kFile) {
        const std::int64_t reads = node.replays + (node.op >= tape.sources ? 1 : 0);
        value.why += reads == 0 ? "it stays in memory from step to step"
                                : absl::StrCat("it was read ", reads, reads == 1 ? " time, " : " times, ", own);
      } else if (value.fate == Explanation::Fate::kPinned) {
        value.why += "no op can make it again";
      } else if (value.fate == Explanation::Fate::kDiscarded) {
        value.why += absl::StrCat("it takes ", own, " to have it again");
      } else if (!options_.budget) {
        value.why += "there is no budget";
      } else if (!value.live_at_peak) {
        value.why += "it is not in memory at the peak";
      } else if (again == 0) {
        value.why += "the budget holds all";
      } else {
        value.why += absl::StrCat("it would take ", own, ", and the dearest that is computed again takes ",
                                  milliseconds(dearest));
      }
    }
  }
  result.cost = once > 0 ? again / once : 0;

  std::vector<BufferId> holders = course.at_peak();
  std::stable_sort(holders.begin(), holders.end(), [&](BufferId a, BufferId b) {
    return graph.buffers[static_cast<std::size_t>(a)].bytes > graph.buffers[static_cast<std::size_t>(b)].bytes;
  });
  constexpr std::size_t kHolders = 10;
  holders.resize(std::min(holders.size(), kHolders));
  std::vector<OpId> producer(graph.buffers.size(), kNone);
  for (std::size_t op = 0; op < graph.ops.size(); ++op) {
    for (BufferId b : graph.ops[op].writes) producer[static_cast<std::size_t>(b)] = static_cast<OpId>(op);
  }
  for (BufferId b : holders) {
    const auto at = static_cast<std::size_t>(b);
    const OpId maker = producer[at];
    std::string name = maker != kNone ? graph.ops[static_cast<std::size_t>(maker)].name : graph.buffers[at].name;
    if (name.empty()) name = "an input";
    const std::string where = maker != kNone ? to_string(tape.nodes[tape.op_nodes[maker]].where) : std::string();
    result.at_peak.push_back({std::move(name), where, graph.buffers[at].bytes});
  }

  if (offers == 0 || graph.ops.empty()) return result;
  // What each op takes once, but for reading files: that is part of what a budget costs.
  double base = 0;
  for (const scheduler::Op& op : graph.ops) base += op.cost;
  for (OpId op = 0; op < tape.sources; ++op) base -= graph.ops[static_cast<std::size_t>(op)].cost;
  const auto offer = [&](std::int64_t bytes, const scheduler::Plan* smaller) -> std::optional<scheduler::Plan> {
    try {
      const scheduler::PlanOptions how = {.seed = options_.seed, .repeated = tape.sources > 0};
      return scheduler::try_plan(graph, bytes, how, smaller);
    } catch (const Error&) {
      return std::nullopt;  // a step that was recorded in part
    }
  };
  const auto said = [&](const scheduler::Plan& plan) {
    return Explanation::Offer{plan.budget, plan.cost / base - 1, std::max(plan.lower_bound / base - 1, 0.0)};
  };
  if (!options_.budget) return result;
  const std::int64_t whole = scheduler::peak_without_recomputation(graph);
  std::optional<scheduler::Plan> smaller = offer(*options_.budget, nullptr);
  if (smaller) result.here = said(*smaller);
  for (int i = 1; i <= offers && *options_.budget < whole; ++i) {
    const std::int64_t bytes = Extents::round_up(*options_.budget + (whole - *options_.budget) * i / offers);
    std::optional<scheduler::Plan> plan = offer(bytes, smaller ? &*smaller : nullptr);
    if (!plan) continue;
    result.with_more.push_back(said(*plan));
    smaller = std::move(plan);
    if (smaller->cost <= base) break;
  }
  return result;
}

}  // namespace detail

std::string Explanation::text() const {
  std::string text;
  const auto blanks = [](std::size_t width, const std::string& cell) {
    return std::string(width > cell.size() ? width - cell.size() : 0, ' ');
  };
  const auto line = [&](const std::string& op, const std::string& shape, const std::string& where,
                        const std::string& bytes, const std::string& fate) {
    absl::StrAppend(&text, op, blanks(28, op), " ", shape, blanks(24, shape), " ");
    absl::StrAppend(&text, where, blanks(20, where), " ", blanks(10, bytes), bytes, "  ", fate, "\n");
  };
  line("value", "shape", "line", "bytes", "fate");
  for (const Value& value : values) {
    std::string fate = "kept until its last use";
    if (value.fate == Fate::kPinned) fate = "kept";
    if (value.fate == Fate::kDiscarded) {
      fate = absl::StrCat("discarded after ", value.discarded_after);
      if (value.runs > 1) {
        absl::StrAppend(&fate, ", recomputed ", value.runs - 1, value.runs == 2 ? " time" : " times");
        if (!value.recomputed_for.empty()) absl::StrAppend(&fate, " for ", value.recomputed_for);
      }
    }
    absl::StrAppend(&fate, ": ", value.why);
    line(value.op, value.shape, value.where, format_bytes(value.bytes), fate);
  }
  absl::StrAppend(&text, "peak ", format_bytes(peak_bytes), " at ", peak_op, ", of which\n");
  for (const Holder& holder : at_peak) line(holder.name, "", holder.where, format_bytes(holder.bytes), "");
  const auto percent = [](double part) {
    char number[32];
    std::snprintf(number, sizeof number, "%.1f %%", 100 * part);
    return std::string(number);
  };
  absl::StrAppend(&text, "the step computed again ", percent(cost), " of its work");
  if (budget) absl::StrAppend(&text, " in ", format_bytes(*budget));
  if (here) absl::StrAppend(&text, "; planned: ", percent(here->cost), ", no plan below ", percent(here->bound));
  absl::StrAppend(&text, "\n");
  for (const Offer& offer : with_more) {
    absl::StrAppend(&text, "with ", format_bytes(offer.budget - budget.value_or(0)), " more (",
                    format_bytes(offer.budget), ") it would be ", percent(offer.cost), ", no plan below ",
                    percent(offer.bound), "\n");
  }
  return text;
}

}  // namespace tidemark
