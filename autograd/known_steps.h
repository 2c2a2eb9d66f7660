// Steps that were recorded whole, and what was planned for them. It knows graphs, signatures and plans; where things
// lie in the present step is the Advisor's.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autograd/timeline_recorder.h"
#include "tidemark/scheduler.h"

namespace tidemark::detail {

// What was planned so far, and why.
struct Planning {
  std::int64_t plans = 0;     // made in all
  std::int64_t replans = 0;   // for steps that had one already
  std::string replan_reason;  // of the last of these
  double seconds = 0;
};

struct KnownStep {
  struct Planned {
    std::int64_t room = 0;  // that it was made for
    scheduler::Plan plan;
  };
  struct Rest {  // from the middle of the step on
    scheduler::Start start;
    scheduler::Plan plan;
  };

  std::vector<std::uint64_t> signatures;
  scheduler::Graph graph;
  scheduler::OpId done = 0;                 // ops at its begin that have run in earlier steps
  std::vector<scheduler::OpId> residents;   // those of them whose outputs are in memory when it starts
  std::vector<scheduler::BufferId> inputs;  // buffers that no op writes, and that take room
  std::vector<std::uint64_t> keys;          // what they were when the step last ran, in the same order
  std::list<Planned> plans;
  std::list<Rest> rests;
  std::int64_t failed_room = -1;  // no plan was found for this room, or less
  std::int64_t id = 0;
};

class KnownSteps {
 public:
  // A plan, and whether it had to be made though the step had one.
  struct Found {
    const scheduler::Plan* plan = nullptr;
    bool made_again = false;
  };

  // `limited`: memory may run out, so that values have to be discarded.
  KnownSteps(bool limited, std::uint64_t seed, TimelineRecorder& timeline)
      : limited_(limited), seed_(seed), timeline_(timeline) {}

  // Steps whose first op is this one, the likeliest first.
  std::vector<KnownStep*> beginning_with(std::uint64_t signature);
  // A plan of the whole step in that room, or none.
  Found plan(KnownStep& step, std::int64_t room);
  // A plan of what follows `start`, or none. `graph` is the step's, with what else is in memory.
  Found plan_rest(KnownStep& step, const scheduler::Graph& graph, std::int64_t room, scheduler::Start start);
  // A plan of any program: none where none was found, or where `start` does not lead to the end. The last answers are
  // remembered: a step of which only the rest has a plan asks the same in every round.
  std::optional<scheduler::Plan> make_plan(const scheduler::Graph& graph, std::int64_t room,
                                           const std::optional<scheduler::Start>& start);
  // The step ran to its end just now; known by its signatures from then on. `graph` is called where it was not before.
  KnownStep& ran(const std::vector<std::uint64_t>& signatures, const std::function<scheduler::Graph()>& graph,
                 scheduler::OpId done, const std::vector<scheduler::OpId>& residents);
  const Planning& planning() const { return planning_; }

 private:
  struct Answer {
    std::uint64_t question = 0;  // a hash of all that was asked
    std::optional<scheduler::Plan> plan;
  };
  std::int64_t predicted() const;

  bool limited_;
  std::uint64_t seed_;
  TimelineRecorder& timeline_;
  std::list<KnownStep> steps_;         // most recently used first
  std::vector<std::int64_t> history_;  // ids of the last steps
  std::int64_t next_id_ = 0;
  std::list<Answer> answers_;  // most recently used first
  Planning planning_;
};

// By buffer: whether an op writes it.
std::vector<bool> written(const scheduler::Graph& graph);

}  // namespace tidemark::detail
