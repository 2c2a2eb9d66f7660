#include "scheduler/early_sources.h"

#include <algorithm>
#include <utility>

namespace tidemark::scheduler {
namespace {

constexpr double kAhead = 2;  // of the time that a source takes, as others may use the disk as well

class Early {
 public:
  Early(const Graph& graph, const Program& program, OpId end, const std::vector<Step>& steps)
      : graph_(graph), program_(program), end_(end), resident_(program.at_start), live_(program.start_bytes) {
    timed_.reserve(steps.size());
    for (const Step& step : steps) timed_.push_back(timed(step));
  }

  bool run(std::int64_t room) {
    const std::vector<double> begins = latest_begins();
    bool moved = false;
    for (std::size_t at = 0; at < timed_.size(); ++at) {
      if (timed_[at].source >= 0) moved = move_ahead(at, begins[at], room) || moved;
    }
    return moved;
  }

  void write_to(std::vector<Step>& steps) && {
    for (std::size_t i = 0; i < steps.size(); ++i) steps[i] = std::move(timed_[i].step);
  }

 private:
  struct Timed {
    Step step;
    BufferId source = -1;      // what a source that may be moved writes
    double time = 0;           // of the plan up to here, without such sources
    std::int64_t highest = 0;  // live bytes and scratch while it runs
  };

  static std::size_t index(std::int32_t id) { return static_cast<std::size_t>(id); }

  Timed timed(Step step) {
    Timed result{.step = std::move(step), .source = -1, .time = time_, .highest = live_};
    const std::int32_t id = result.step.id;
    if (result.step.kind != Step::Kind::kRun) {
      if (result.step.kind == Step::Kind::kDrop && std::exchange(resident_[index(id)], 0) != 0) {
        live_ -= program_.bytes[index(id)];
      }
      return result;
    }
    for (const auto& [read, write] : result.step.overwrites) {
      if (std::exchange(resident_[index(read)], 0) != 0) live_ -= program_.bytes[index(read)];
    }
    // A run that gives back what is in memory already stays where it is.
    bool fresh = true;
    for (const BufferId b : program_.writes[id]) {
      fresh = fresh && resident_[index(b)] == 0;
      if (std::exchange(resident_[index(b)], 1) == 0) live_ += program_.bytes[index(b)];
    }
    const Op& op = graph_.ops[index(id)];
    if (id < end_ && fresh && is_source(op) && op.writes.size() == 1 && op.scratch == 0) {
      result.source = op.writes.front();
    } else {
      time_ += op.cost;
    }
    result.highest = std::max(result.highest, live_ + op.scratch);
    return result;
  }

  bool touches(const Step& step, BufferId buffer) const {
    if (step.kind != Step::Kind::kRun) return step.id == buffer;
    const auto reads = program_.reads[step.id];
    return std::find(reads.begin(), reads.end(), buffer) != reads.end();
  }

  // By step: when a source has to begin for its output to be there in time, and those after it as well. They are
  // carried out one after the other.
  std::vector<double> latest_begins() const {
    std::vector<double> wanted(program_.bytes.size(), time_);  // when the buffer is next touched
    std::vector<double> result(timed_.size(), 0);
    double next = time_;
    for (std::size_t at = timed_.size(); at-- > 0;) {
      const Timed& each = timed_[at];
      if (each.source >= 0) {
        double& when = wanted[index(each.source)];
        next = std::min(next, when) - kAhead * program_.cost[index(each.step.id)];
        result[at] = next;
        when = time_;
      } else if (each.step.kind != Step::Kind::kRun) {
        wanted[index(each.step.id)] = each.time;
      } else {
        for (BufferId b : program_.reads[each.step.id]) wanted[index(b)] = each.time;
      }
    }
    return result;
  }

  // To the last place that is early enough, or else as far as it can go; false where that is nowhere.
  bool move_ahead(std::size_t at, double begin, std::int64_t room) {
    const std::int64_t bytes = program_.bytes[index(timed_[at].source)];
    std::size_t to = at;
    while (to > 0 && timed_[to].time > begin) {
      Timed& before = timed_[to - 1];
      if (before.source >= 0 || touches(before.step, timed_[at].source) || before.highest + bytes > room) break;
      before.highest += bytes;
      --to;
    }
    const auto step = [&](std::size_t i) { return timed_.begin() + static_cast<std::ptrdiff_t>(i); };
    std::rotate(step(to), step(at), step(at + 1));
    return to < at;
  }

  const Graph& graph_;
  const Program& program_;
  OpId end_;
  std::vector<char> resident_;
  std::int64_t live_;
  double time_ = 0;
  std::vector<Timed> timed_;
};

}  // namespace

bool run_sources_early(const Graph& graph, const Program& program, OpId end, std::int64_t room,
                       std::vector<Step>& steps) {
  Early early(graph, program, end, steps);
  if (!early.run(room)) return false;
  std::move(early).write_to(steps);
  return true;
}

}  // namespace tidemark::scheduler
