// The one definition of what a plan may do, what it costs and how high it reaches. It shares no state with the planner.
#include <algorithm>
#include <map>
#include <string>

#include "scheduler/program.h"
#include "scheduler/simulate.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {
namespace {

class Simulator {
 public:
  Simulator(const Graph& graph, const Plan& plan, const std::optional<Start>& start)
      : graph_(graph),
        plan_(plan),
        program_(compile(graph, start)),
        next_(program_.first_op),
        at_start_(program_.at_start),
        resident_(graph.buffers.size(), 0),
        offset_(graph.buffers.size(), 0),
        version_(graph.buffers.size(), 0),
        read_version_(graph.ops.size()),
        ran_(graph.ops.size(), 0) {
    step_ = plan.steps.size();
    versions();
    if (!start) stay(plan.residents);
    begin(start);
    skip_sources();
  }

  Simulation run() {
    for (step_ = 0; step_ < plan_.steps.size(); ++step_) {
      const Step& step = plan_.steps[step_];
      switch (step.kind) {
        case Step::Kind::kRun:
          run_op(step);
          break;
        case Step::Kind::kDrop:
          drop(step.id);
          break;
        case Step::Kind::kMove:
          move(step);
          break;
      }
    }
    if (next_ != program_.op_count) fail("the plan ends before " + describe_op(graph_, next_));
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (program_.kept[b] && !resident_[b]) fail(describe_buffer(graph_, b) + " is to be kept but is not resident");
    }
    for (BufferId b : stays_) {
      if (!resident_[b]) fail(describe_buffer(graph_, b) + " is resident at the start and not at the end");
      if (version_[b] != 0) fail(describe_buffer(graph_, b) + " is another at the end than at the start");
    }
    return result_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    std::string where = step_ < plan_.steps.size() ? "step " + std::to_string(step_) : "the end";
    throw Error("plan: " + where + ": " + what);
  }

  // How often each buffer has been updated, as seen by each op at its place in the program and by the start.
  void versions() {
    for (OpId op = 0; op < program_.op_count; ++op) {
      if (op == program_.first_op) version_at_start_ = version_;
      for (BufferId b : program_.reads[op]) read_version_[op].push_back(version_[b]);
      for (BufferId b : program_.updates[op]) ++version_[b];
    }
    if (program_.first_op < program_.op_count) version_ = version_at_start_;
  }

  // Outputs of sources that are in memory when the program starts are to be so when it ends.
  void stay(const std::vector<BufferId>& residents) {
    for (BufferId b : residents) {
      if (b < 0 || b >= program_.buffer_count) fail("has buffer " + std::to_string(b) + " resident, unknown");
      const OpId producer = program_.producer[b];
      if (producer < 0 || !is_source(graph_.ops[producer])) {
        fail("has " + describe_buffer(graph_, b) + " resident, which no source writes");
      }
      if (at_start_[b]) fail("has " + describe_buffer(graph_, b) + " resident twice");
      at_start_[b] = 1;
      stays_.push_back(b);
    }
  }

  // Sources have no place in the order of the program.
  void skip_sources() {
    while (next_ < program_.op_count && is_source(graph_.ops[next_])) ++next_;
  }

  // What the start leaves open is where the plan wants it.
  std::vector<Placement> started(const Start& start) const {
    std::vector<Placement> places = start.resident;
    for (Placement& place : places) {
      if (place.offset != kAnywhere) continue;
      const auto wanted = std::find_if(plan_.inputs.begin(), plan_.inputs.end(),
                                       [&](const Placement& p) { return p.buffer == place.buffer; });
      if (wanted == plan_.inputs.end()) fail("gives no place to " + describe_buffer(graph_, place.buffer));
      place.offset = wanted->offset;
    }
    return places;
  }

  void begin(const std::optional<Start>& start) {
    if (plan_.placed) {
      const std::vector<Placement> places = start ? started(*start) : plan_.inputs;
      std::size_t placed = 0;
      for (const Placement& place : places) {
        if (place.buffer < 0 || place.buffer >= program_.buffer_count || !at_start_[place.buffer]) {
          fail("places " + describe_buffer(graph_, place.buffer) + " at the start, which is not there");
        }
        if (resident_[place.buffer]) fail("places " + describe_buffer(graph_, place.buffer) + " twice at the start");
        put(place.buffer, place.offset, program_.bytes[place.buffer]);
        resident_[place.buffer] = 1;
        ++placed;
      }
      const auto there = std::count(at_start_.begin(), at_start_.end(), 1);
      if (placed != static_cast<std::size_t>(there)) fail("an input has no place at the start");
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (!at_start_[b]) continue;
      resident_[b] = 1;
      live_ += program_.bytes[b];
    }
    note_peak(0);
  }

  void note_peak(std::int64_t more) {
    if (live_ + more > plan_.budget) {
      fail("live bytes " + std::to_string(live_ + more) + " are above the budget " + std::to_string(plan_.budget));
    }
    result_.live_peak = std::max(result_.live_peak, live_ + more);
  }

  // Takes [offset, offset + bytes) of the arena; a range of no bytes takes nothing.
  void put(BufferId b, std::int64_t offset, std::int64_t bytes) {
    const auto what = [&] { return b == kScratch ? std::string("scratch") : describe_buffer(graph_, b); };
    if (offset < 0 || offset > plan_.budget - bytes) {
      fail(what() + " at offset " + std::to_string(offset) + " is not inside the budget");
    }
    if (b != kScratch) offset_[b] = offset;
    result_.reserved_peak = std::max(result_.reserved_peak, offset + bytes);
    if (bytes == 0) return;
    const auto next = taken_.lower_bound(offset);
    if (next != taken_.end() && next->first < offset + bytes) {
      fail(what() + " overlaps what is at offset " + std::to_string(next->first));
    }
    if (next != taken_.begin() && std::prev(next)->second > offset) {
      fail(what() + " overlaps what is at offset " + std::to_string(std::prev(next)->first));
    }
    taken_.emplace(offset, offset + bytes);
  }

  void lift(BufferId b) {
    if (plan_.placed && program_.bytes[b] > 0) taken_.erase(offset_[b]);
  }

  void gone(BufferId b) {
    lift(b);
    resident_[b] = 0;
    live_ -= program_.bytes[b];
  }

  void need_resident(BufferId b, const char* verb) const {
    if (b < 0 || b >= program_.buffer_count) fail(std::string(verb) + " buffer " + std::to_string(b) + ", unknown");
    if (!resident_[b]) fail(std::string(verb) + " " + describe_buffer(graph_, b) + ", which is not resident");
  }

  void drop(BufferId b) {
    need_resident(b, "drops");
    if (program_.pinned[b]) fail("drops " + describe_buffer(graph_, b) + ", which is pinned");
    gone(b);
  }

  void move(const Step& step) {
    need_resident(step.id, "moves");
    if (!plan_.placed) fail("moves a buffer in a plan without places");
    if (step.offset != offset_[step.id]) result_.moved_bytes += program_.bytes[step.id];
    lift(step.id);
    put(step.id, step.offset, program_.bytes[step.id]);
  }

  void run_op(const Step& step) {
    const OpId op = step.id;
    if (op < 0 || op >= program_.op_count) fail("runs op " + std::to_string(op) + ", unknown");
    const auto name = [&] { return describe_op(graph_, op); };
    const bool source = is_source(graph_.ops[op]);
    const bool first = source ? op >= program_.first_op && !ran_[op] : op == next_;
    if (!source && op > next_) fail("runs " + name() + " before " + describe_op(graph_, next_) + " has run");
    if (!first && graph_.ops[op].once) fail("runs " + name() + " again, which is allowed once");
    if (!first && !program_.updates[op].empty()) fail("runs " + name() + " again, which updates in place");
    const auto reads = program_.reads[op];
    for (std::size_t i = 0; i < reads.size(); ++i) {
      need_resident(reads[i], (name() + " reads").c_str());
      if (version_[reads[i]] != read_version_[op][i]) {
        fail(name() + " reads " + describe_buffer(graph_, reads[i]) + ", which has been updated since");
      }
    }
    for (BufferId b : program_.writes[op]) {
      if (version_[b] != 0)
        fail(name() + " would write " + describe_buffer(graph_, b) + " as it was before its update");
    }
    const auto taken = overwritten(step);
    std::int64_t more = program_.scratch[op];
    for (BufferId b : program_.writes[op]) {
      const bool in_place = taken.contains(b);
      if (in_place && resident_[b])
        fail(name() + " overwrites with " + describe_buffer(graph_, b) + ", which is resident");
      if (!resident_[b] && !in_place) more += program_.bytes[b];
    }
    note_peak(more);
    place(step, taken);
    for (const auto& [w, r] : taken) gone(r);
    for (BufferId b : program_.writes[op]) {
      if (plan_.placed && taken.contains(b)) put(b, offset_[taken.at(b)], program_.bytes[b]);
      if (!resident_[b]) live_ += program_.bytes[b];
      resident_[b] = 1;
    }
    for (BufferId b : program_.updates[op]) ++version_[b];
    result_.cost += program_.cost[op];
    ran_[op] = 1;
    if (!first) ++result_.recomputed_ops;
    if (!first || source) return;
    ++next_;
    skip_sources();
  }

  // write -> read of the pairs that the step uses.
  std::map<BufferId, BufferId> overwritten(const Step& step) const {
    std::map<BufferId, BufferId> taken;
    const auto& allowed = program_.overwrites[step.id];
    for (const auto& pair : step.overwrites) {
      if (std::find(allowed.begin(), allowed.end(), pair) == allowed.end()) {
        fail(describe_op(graph_, step.id) + " may not overwrite " + describe_buffer(graph_, pair.first) + " with " +
             describe_buffer(graph_, pair.second));
      }
      const bool again = std::any_of(taken.begin(), taken.end(), [&](const auto& t) { return t.second == pair.first; });
      if (again || !taken.emplace(pair.second, pair.first).second) fail("a buffer is in two overwrites of a step");
    }
    return taken;
  }

  // Every newly written buffer and the scratch has one place, all at once beside what is resident.
  void place(const Step& step, const std::map<BufferId, BufferId>& taken) {
    if (!plan_.placed) {
      if (!step.places.empty()) fail("places a buffer in a plan without places");
      return;
    }
    std::vector<BufferId> due;
    for (BufferId b : program_.writes[step.id]) {
      if (!resident_[b]) due.push_back(b);
    }
    if (program_.scratch[step.id] > 0) due.push_back(kScratch);
    std::int64_t scratch_at = -1;
    for (const Placement& p : step.places) {
      const auto found = std::find(due.begin(), due.end(), p.buffer);
      if (found == due.end()) fail("places " + describe_buffer(graph_, p.buffer) + ", which it does not newly write");
      due.erase(found);
      if (p.buffer == kScratch) {
        put(kScratch, p.offset, program_.scratch[step.id]);
        scratch_at = p.offset;
      } else if (const auto pair = taken.find(p.buffer); pair != taken.end()) {
        if (p.offset != offset_[pair->second]) fail("an overwrite is not at the offset of what it overwrites");
      } else {
        put(p.buffer, p.offset, program_.bytes[p.buffer]);
      }
    }
    if (!due.empty()) fail("gives no place to " + (due[0] == kScratch ? "scratch" : describe_buffer(graph_, due[0])));
    if (scratch_at >= 0) taken_.erase(scratch_at);
  }

  const Graph& graph_;
  const Plan& plan_;
  const Program program_;
  OpId next_;  // no source
  std::size_t step_ = 0;
  std::vector<char> at_start_;
  std::vector<BufferId> stays_;
  std::vector<char> resident_;
  std::vector<std::int64_t> offset_;
  std::vector<std::int32_t> version_;
  std::vector<std::int32_t> version_at_start_;
  std::vector<std::vector<std::int32_t>> read_version_;
  std::vector<char> ran_;                       // by op; of sources
  std::map<std::int64_t, std::int64_t> taken_;  // offset -> end
  std::int64_t live_ = 0;
  Simulation result_;
};

}  // namespace

Simulation simulate(const Graph& graph, const Plan& plan, const std::optional<Start>& start) {
  return Simulator(graph, plan, start).run();
}

void set_figures(Plan& plan, const Graph& graph, const std::optional<Start>& start) {
  const Simulation simulation = simulate(graph, plan, start);
  plan.live_peak = simulation.live_peak;
  plan.reserved_peak = simulation.reserved_peak;
  plan.moved_bytes = simulation.moved_bytes;
  plan.cost = simulation.cost;
}

}  // namespace tidemark::scheduler
