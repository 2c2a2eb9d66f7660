// The online policy on any graph: whole programs, and calls in any order. What it does stays inside the budget, nothing
// lies on anything else, and what it says is resident is.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/fuzz/graphs.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;             // NOLINT(google-build-using-namespace)
using namespace tidemark::scheduler;  // NOLINT(google-build-using-namespace)
using fuzz::require;

// Memory, as the steps leave it.
class Memory {
 public:
  Memory(const Graph& graph, std::int64_t budget) : graph_(graph), budget_(budget) {}

  void put(BufferId b, std::int64_t offset) {
    require(!at_.contains(b), "a buffer is placed once");
    require_free(offset, graph_.buffers[b].bytes);
    at_[b] = offset;
  }
  void apply(const std::vector<Step>& steps) {
    for (const Step& step : steps) apply(step);
  }
  bool resident(BufferId b) const { return at_.contains(b); }
  const std::vector<OpId>& runs() const { return runs_; }

 private:
  void apply(const Step& step) {
    if (step.kind != Step::Kind::kRun) {
      require(at_.erase(step.id) == 1, "what is dropped or moved is resident");
      if (step.kind == Step::Kind::kMove) put(step.id, step.offset);
      return;
    }
    const Op& op = graph_.ops[step.id];
    for (const auto* list : {&op.reads, &op.updates}) {
      for (const BufferId b : *list) require(resident(b), "what is read is resident");
    }
    const auto scratch =
        std::find_if(step.places.begin(), step.places.end(), [](const Placement& p) { return p.buffer == kScratch; });
    require((scratch != step.places.end()) == (op.scratch > 0), "scratch has a place");
    for (const auto& [read, write] : step.overwrites) at_.erase(read);
    for (const Placement& p : step.places) {
      if (p.buffer != kScratch) put(p.buffer, p.offset);
    }
    if (scratch != step.places.end()) require_free(scratch->offset, op.scratch);
    for (const BufferId b : op.writes) require(resident(b), "what is written is resident");
    runs_.push_back(step.id);
  }

  void require_free(std::int64_t offset, std::int64_t bytes) const {
    require(offset >= 0 && bytes <= budget_ && offset <= budget_ - bytes, "a place is inside the budget");
    for (const auto& [b, start] : at_) {
      const std::int64_t end = start + graph_.buffers[b].bytes;
      require(bytes == 0 || start == end || offset + bytes <= start || end <= offset, "places do not overlap");
    }
  }

  const Graph& graph_;
  std::int64_t budget_;
  std::map<BufferId, std::int64_t> at_;
  std::vector<OpId> runs_;
};

void call(fuzz::Input& input, const Graph& graph, std::int64_t budget) {
  std::set<BufferId> released;  // what is restored of these goes at once
  std::set<BufferId> written;
  for (const Op& op : graph.ops) written.insert(op.writes.begin(), op.writes.end());
  Online online(graph, budget);
  Memory memory(graph, budget);
  OpId next = 0;
  for (int calls = 0; calls < 60 && !input.empty(); ++calls) {
    std::vector<Step> steps;
    const int kind = input.byte();
    const BufferId b = graph.buffers.empty() ? 0 : input.number(0, static_cast<int>(graph.buffers.size()) - 1);
    try {
      if (kind < 0x80) {
        if (next == static_cast<OpId>(graph.ops.size())) return;
        const std::optional<Shortage> shortage = online.admit(next, steps);
        if (shortage) {
          require(shortage->needed > budget, "a shortage is more than there is");
        } else {
          memory.apply(steps);
          require(!memory.runs().empty() && std::count(memory.runs().begin(), memory.runs().end(), next) == 1,
                  "the op has run, once");
          if (graph.ops[next].releases)
            released.insert(graph.ops[next].releases->begin(), graph.ops[next].releases->end());
          ++next;
          continue;
        }
      } else if (kind < 0xB0) {
        std::int64_t offset = -1;
        if (graph.buffers.empty() || written.contains(b)) continue;
        const bool fits = !online.reserve(b, steps, offset);
        if (fits) {
          memory.apply(steps);
          memory.put(b, offset);
          continue;
        }
      } else if (kind < 0xD0) {
        if (!online.restore(b, steps)) {
          memory.apply(steps);
          require(memory.resident(b) || released.contains(b), "what is restored is resident");
          continue;
        }
      } else if (kind < 0xF0) {
        online.release(b, steps);
        released.insert(b);
        memory.apply(steps);
        continue;
      } else {
        online.pin(b);
      }
    } catch (const Error&) {
    }
    require(steps.empty(), "what is refused has no steps");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const Graph graph = fuzz::any_graph(input, 20, input.byte() % 8 == 7);
  std::int64_t peak = 0;
  try {
    peak = peak_without_recomputation(graph);
  } catch (const Error&) {
    call(input, graph, 4096);
    return 0;
  }
  const std::int64_t budget = fuzz::any_budget(input, least_budget(graph), peak);
  try {
    const Plan plan = run_online(graph, budget);
    const Simulation simulation = simulate(graph, plan);
    require(simulation.live_peak <= budget && simulation.reserved_peak <= budget, "peak <= budget");
    require(simulation.cost == plan.cost && plan.base_cost <= plan.cost * (1 + 1e-9), "a plan's figures are true");
  } catch (const BudgetError& error) {
    require(error.needed_bytes() > budget, "a refusal asks for more");
  }
  call(input, graph, std::max<std::int64_t>(budget, 0));
  return 0;
}
