// The scheduler as a library of its own: graphs, plans, and who decides what is discarded and computed again.
//
// It knows nothing of tensors. A Graph is buffers with bytes and ops in program order; forward and backward ops, weight
// reorders, gradient accumulation and optimizer updates are all the same kind of thing. A Plan is a list of steps. The
// rules that make a plan valid, and its cost and peak, are defined by simulate() alone. docs/scheduler.md explains all
// of it with a dumped example. Units: bytes, and seconds or any other positive unit of cost.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace tidemark::scheduler {

using BufferId = std::int32_t;  // index into Graph::buffers
using OpId = std::int32_t;      // index into Graph::ops

inline constexpr BufferId kScratch = -1;  // in Step::places: the op's scratch
inline constexpr std::int64_t kUnlimited = std::int64_t{1} << 60;
inline constexpr std::int64_t kAnywhere = -1;  // in Start::resident: the plan chooses the offset

enum class Phase : std::uint8_t { kForward, kBackward, kUpdate };

struct Buffer {
  std::int64_t bytes = 0;
  std::string name;     // for messages; may be empty
  bool pinned = false;  // inputs only: never dropped
};

struct Op {
  std::string name;
  Phase phase = Phase::kForward;
  double cost = 0;
  std::vector<BufferId> reads;
  std::vector<BufferId> writes;
  std::vector<BufferId> updates;                          // read and overwritten in place
  std::vector<std::pair<BufferId, BufferId>> overwrites;  // {read, write}: the write may take the read's place
  std::int64_t scratch = 0;
  bool once = false;                              // may not run a second time
  std::optional<std::vector<BufferId>> releases;  // the program holds no handle to these any more
};

struct Graph {
  std::string name;
  std::vector<Buffer> buffers;
  std::vector<Op> ops;
  std::vector<BufferId> keep;  // resident when the last op has run
};

struct Placement {
  BufferId buffer = 0;
  std::int64_t offset = 0;
};

struct Step {
  enum class Kind : std::uint8_t { kRun, kDrop, kMove };
  Kind kind = Kind::kRun;
  std::int32_t id = 0;                                    // op to run, or buffer to drop or move
  std::int64_t offset = 0;                                // kMove: the new offset
  std::vector<Placement> places;                          // kRun: each written buffer, and kScratch
  std::vector<std::pair<BufferId, BufferId>> overwrites;  // kRun: the pairs of Op::overwrites that are used
};

struct Plan {
  std::int64_t budget = 0;
  std::int64_t live_peak = 0;      // largest sum of resident bytes and scratch
  std::int64_t reserved_peak = 0;  // highest end of a placement; 0 where nothing is placed
  std::int64_t moved_bytes = 0;    // copied by moves; stands beside cost, which does not count it
  double cost = 0;                 // of all runs
  double base_cost = 0;            // of every op once
  double lower_bound = 0;          // no valid plan of this graph and budget costs less
  bool placed = false;
  std::vector<Placement>
      inputs;  // where each buffer that is resident at the start has to be; nothing says where one ends
  // Outputs of sources that are resident at the start and at the end; without a Start, which says itself what is.
  std::vector<BufferId> residents;
  std::vector<Step> steps;
};

// A source is an op that reads nothing, changes nothing and may run again: reading a file, say. In a plan it may run at
// any time before what reads its output does, as often as that is discarded; and not at all where that is resident.
bool is_source(const Op& op);

// Where planning starts when part of the program has already run: ops before `next_op` have had their first run (they
// may run again), and exactly `resident` is in memory, each at its offset, a multiple of 64, or kAnywhere: then
// Plan::inputs says where the plan wants it (offsets are ignored by unplaced plans). No start is the beginning: every
// input resident, anywhere.
struct Start {
  OpId next_op = 0;
  std::vector<Placement> resident;
};

// Why an op cannot run: what must be in memory together while it runs, whatever else is discarded. What can be computed
// again depends on what ran before, and how: under another budget it may, rarely, be less.
struct Shortage {
  OpId op = -1;  // the op that cannot run; -1 for a reserved input
  // Bytes of budget: pinned + inputs + outputs + scratch, and always more than there was.
  std::int64_t needed = 0;
  std::int64_t pinned = 0;  // resident and neither droppable nor read by the op
  std::int64_t inputs = 0;  // what it reads or updates
  std::int64_t outputs = 0;
  std::int64_t scratch = 0;
};

enum class Effort : std::uint8_t { kDefault, kHigh };

struct PlanOptions {
  Effort effort = Effort::kDefault;
  bool place = true;  // choose offsets, so that the budget bounds bytes reserved and not only bytes live
  std::uint64_t seed = 1;
  std::optional<Start> start = {};
  // The program runs again and again. Outputs of sources may stay in memory from one run to the next, and which of them
  // do is chosen for the least cost of a run (Plan::residents). Else, or with a start, each source runs at its place in
  // the program as other ops do.
  bool repeated = false;
  // Told in words what the planner does: the bound, each walk of the search, where things are placed.
  std::function<void(const std::string& line)> watch = {};
};

// Deterministic for a seed. Throws Error where the graph breaks the rules, and BudgetError where no plan was found:
// its needed_bytes() is the smallest budget that was planned, exact() whether a smaller one is proven impossible.
Plan plan(const Graph& graph, std::int64_t budget, const PlanOptions& options = {});

// As plan(), but nothing where no plan was found, without a search for the smallest budget. `smaller`, a plan of the
// same graph and options for a smaller budget, is taken where no cheaper one is found: over ascending budgets, each
// plan handed to the next, cost never rises.
std::optional<Plan> try_plan(const Graph& graph, std::int64_t budget, const PlanOptions& options = {},
                             const Plan* smaller = nullptr);

// For a caller without a budget: every op of the program (from start.next_op on) once, nothing computed again, offsets
// from the lifetimes. Plan::budget is the arena that it takes: what is live at the peak or up to 2 % more where offsets
// without a move are found there, and else with moves. More only where what the start has given a place forces it.
// Throws Error where something to be read is neither resident at the start nor still to be written.
Plan plan_without_recomputation(const Graph& graph, const std::optional<Start>& start = {});

// No plan exists for a smaller budget: what some op needs whatever else is discarded.
std::int64_t least_budget(const Graph& graph);

// The largest sum of live bytes where nothing is computed twice.
std::int64_t peak_without_recomputation(const Graph& graph);

// What the online policy below does with the whole program, as a plan. Where ops carry no `releases`, a buffer is
// released after its last read. Throws BudgetError naming the op that does not fit.
Plan run_online(const Graph& graph, std::int64_t budget);

// Replays a plan step by step under the rules and recomputes its cost and peaks from nothing. Throws Error naming the
// step and the rule that it breaks.
struct Simulation {
  std::int64_t live_peak = 0;
  std::int64_t reserved_peak = 0;
  std::int64_t moved_bytes = 0;
  double cost = 0;
  std::int64_t recomputed_ops = 0;
};
Simulation simulate(const Graph& graph, const Plan& plan, const std::optional<Start>& start = {});

// Chooses while the program runs and the future is unknown. It reads `graph` only up to the op being admitted, so the
// caller may append buffers and ops as the program records them. The limit is hard: the steps it returns never pass
// the budget, with every buffer placed. A call that does not fit leaves everything as it was, the program included: the
// next op to admit has the same id again, and may be another one. So does one that throws Error, because what it names
// is gone or unknown, or breaks the rules of a graph. Deterministic: staleness is counted in ops, not in seconds.
class Online {
 public:
  // `start.resident` gives what is in memory and where; ops before start.next_op have run and may run again. Without a
  // start nothing is there, and inputs come by reserve().
  Online(const Graph& graph, std::int64_t budget, const Start& start = {});
  Online(Online&&) noexcept;
  Online& operator=(Online&&) noexcept;
  ~Online();

  // Appends the steps that make room for the next op, compute again what it reads, run it, and drop what it releases.
  [[nodiscard]] std::optional<Shortage> admit(OpId op, std::vector<Step>& steps);
  // Appends the steps that make a discarded buffer resident again, for a read from outside.
  [[nodiscard]] std::optional<Shortage> restore(BufferId buffer, std::vector<Step>& steps);
  // Makes room for a new input (a buffer that no op writes) and gives its offset.
  [[nodiscard]] std::optional<Shortage> reserve(BufferId buffer, std::vector<Step>& steps, std::int64_t& offset);
  // The program will not read the buffer any more. It is dropped, at once or, where something that the program still
  // holds could not be computed again without it, when that is released too or room is needed.
  void release(BufferId buffer, std::vector<Step>& steps);
  // Once resident, the buffer is never dropped until it is released.
  void pin(BufferId buffer);

 private:
  struct [[gnu::visibility("hidden")]] State;
  State& state() const;
  std::unique_ptr<State> state_;
};

// Files in the JSON format of docs/scheduler.md. Reading throws FileError naming the file and the entry. Writing puts a
// whole file in the place of one that is there, or throws FileError and leaves it as it was.
Graph read_graph(const std::string& path);
void write_graph(const Graph& graph, const std::string& path);
Plan read_plan(const std::string& path);
void write_plan(const Plan& plan, const std::string& path);

}  // namespace tidemark::scheduler
#pragma GCC visibility pop
