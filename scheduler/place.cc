#include "scheduler/place.h"

#include <algorithm>
#include <limits>

#include "core/extents.h"
#include "scheduler/layout.h"

namespace tidemark::scheduler {
namespace {

using memory::Extents;

// Where new buffers go: those that die within `short_life` steps to the top, the others to the bottom, so that what
// comes and goes does not split what stays.
struct Policy {
  std::size_t short_life = 0;
  bool best_fit = false;
};

class Placer {
 public:
  Placer(const Program& program, const std::vector<Step>& steps, std::int64_t limit, const Policy& policy)
      : program_(program), steps_(steps), policy_(policy), layout_(limit) {
    const auto count = static_cast<std::size_t>(program.buffer_count);
    offset_.assign(count, 0);
    resident_.assign(count, 0);
    pending_.assign(count, 0);
    deaths();
  }

  std::optional<Placed> run(const std::optional<Start>& start) {
    if (!begin(start)) return std::nullopt;
    for (at_ = 0; at_ < steps_.size(); ++at_) {
      const Step& step = steps_[at_];
      if (step.kind == Step::Kind::kDrop) {
        lift(step.id);
        result_.steps.push_back(step);
      } else if (!run_op(step)) {
        return std::nullopt;
      }
    }
    return std::move(result_);
  }

 private:
  // death_[s] of a run: the steps at which its outputs leave, in the order of writes.
  void deaths() {
    std::vector<std::size_t> leaves(static_cast<std::size_t>(program_.buffer_count), steps_.size());
    death_.resize(steps_.size());
    for (std::size_t s = steps_.size(); s-- > 0;) {
      const Step& step = steps_[s];
      if (step.kind == Step::Kind::kDrop) {
        leaves[static_cast<std::size_t>(step.id)] = s;
        continue;
      }
      for (BufferId b : program_.writes[step.id]) death_[s].push_back(leaves[static_cast<std::size_t>(b)]);
      for (const auto& pair : step.overwrites) leaves[static_cast<std::size_t>(pair.first)] = s;
    }
    first_death_ = std::move(leaves);
  }

  bool begin(const std::optional<Start>& start) {
    if (start) {
      for (const Placement& p : start->resident) {
        const std::int64_t bytes = program_.bytes[p.buffer];
        if (bytes > 0 && (p.offset % Extents::kAlignment != 0 || !layout_.is_free(p.offset, bytes))) return false;
        put(p.buffer, p.offset);
        result_.inputs.push_back(p);
      }
      return true;
    }
    for (const bool pinned : {true, false}) {
      for (BufferId b = 0; b < program_.buffer_count; ++b) {
        if (!program_.at_start[b] || static_cast<bool>(program_.pinned[b]) != pinned) continue;
        const auto offset = layout_.lowest_fit(std::max<std::int64_t>(program_.bytes[b], 1));
        if (!offset && program_.bytes[b] > 0) return false;
        put(b, program_.bytes[b] > 0 ? *offset : 0);
        result_.inputs.push_back({b, offset_[b]});
      }
    }
    return true;
  }

  void put(BufferId b, std::int64_t offset) {
    const std::int64_t bytes = program_.bytes[b];
    if (bytes > 0) layout_.take(b, offset, bytes);
    offset_[b] = offset;
    resident_[b] = 1;
    result_.reserved_peak = std::max(result_.reserved_peak, offset + bytes);
  }

  void lift(BufferId b) {
    if (program_.bytes[b] > 0) layout_.give(offset_[b]);
    resident_[b] = 0;
  }

  std::optional<std::int64_t> hole(std::int64_t bytes, std::size_t death) const {
    if (death - at_ <= policy_.short_life) return layout_.highest_fit(bytes);
    return policy_.best_fit ? layout_.best_fit(bytes) : layout_.lowest_fit(bytes);
  }

  void move(BufferId b, std::int64_t offset) {
    layout_.give(offset_[b]);
    layout_.take(b, offset, program_.bytes[b]);
    offset_[b] = offset;
    result_.reserved_peak = std::max(result_.reserved_peak, offset + program_.bytes[b]);
    if (pending_[b]) return;
    result_.steps.push_back(move_step(b, offset));
    result_.moved_bytes += program_.bytes[b];
  }

  std::optional<std::int64_t> room(std::int64_t bytes, std::size_t death) {
    if (const auto offset = hole(bytes, death)) return offset;
    const auto movable = [&](BufferId b) { return !program_.pinned[b]; };
    const auto segments = layout_.segments();
    if (const auto window = Layout::compaction_window(segments, bytes, movable)) {
      std::int64_t to = segments[window->first].offset;
      for (std::size_t i = window->first; i < window->last; ++i) {
        if (segments[i].hole) continue;
        if (segments[i].offset != to) move(segments[i].owner, to);
        to += segments[i].bytes;
      }
    } else {
      for (const Placement& p : layout_.evacuation(bytes, movable)) move(p.buffer, p.offset);
    }
    return hole(bytes, death);
  }

  bool run_op(const Step& step) {
    Step placed = step;
    placed.places.clear();
    const auto writes = program_.writes[step.id];
    struct Due {
      BufferId buffer;
      std::size_t death;
    };
    std::vector<Due> due;
    for (std::size_t i = 0; i < writes.size(); ++i) {
      const BufferId b = writes[i];
      const auto in_place = [&](const auto& pair) { return pair.second == b; };
      if (resident_[b] || std::any_of(step.overwrites.begin(), step.overwrites.end(), in_place)) continue;
      due.push_back({b, death_[at_][i]});
    }
    std::stable_sort(due.begin(), due.end(),
                     [&](const Due& a, const Due& b) { return program_.bytes[a.buffer] > program_.bytes[b.buffer]; });
    for (const Due& d : due) {
      const std::int64_t bytes = program_.bytes[d.buffer];
      const auto offset = bytes > 0 ? room(bytes, d.death) : std::optional<std::int64_t>(0);
      if (!offset) return false;
      put(d.buffer, *offset);
      pending_[d.buffer] = 1;
    }
    if (const std::int64_t bytes = program_.scratch[step.id]; bytes > 0) {
      const auto offset = room(bytes, at_);
      if (!offset) return false;
      placed.places.push_back({kScratch, *offset});
      result_.reserved_peak = std::max(result_.reserved_peak, *offset + bytes);
    }
    for (const Due& d : due) {
      pending_[d.buffer] = 0;
      placed.places.push_back({d.buffer, offset_[d.buffer]});
    }
    for (const auto& [r, w] : step.overwrites) {
      const std::int64_t offset = offset_[r];
      lift(r);
      put(w, offset);
      placed.places.push_back({w, offset});
    }
    result_.steps.push_back(std::move(placed));
    return true;
  }

  const Program& program_;
  const std::vector<Step>& steps_;
  Policy policy_;
  Layout layout_;
  std::vector<std::int64_t> offset_;
  std::vector<char> resident_;
  std::vector<char> pending_;
  std::vector<std::vector<std::size_t>> death_;
  std::vector<std::size_t> first_death_;
  std::size_t at_ = 0;
  Placed result_;
};

}  // namespace

std::vector<Step> emit(const Program& program, const Schedule& schedule) {
  std::vector<Step> steps;
  const auto drop = [&](BufferId b) { steps.push_back(drop_step(b)); };
  for (BufferId b = 0; b < program.buffer_count; ++b) {
    if (program.at_start[b] && !program.pinned[b] && schedule.last_use(b, 0)) drop(b);
  }
  const Profile& events = schedule.profile();
  for (Profile::Position p = events.next(events.begin()); !events.end(p); p = events.next(p)) {
    const Schedule::Key k = events.key(p);
    const OpId op = Schedule::op_of(k);
    if (op >= program.op_count) break;
    Step step = run_step(op);
    for (const auto& [r, w] : program.overwrites[op]) {
      const auto used = [&, r = r, w = w](const auto& pair) { return pair.first == r || pair.second == w; };
      if (!schedule.last_use(r, k)) continue;
      if (std::any_of(step.overwrites.begin(), step.overwrites.end(), used)) continue;
      step.overwrites.emplace_back(r, w);
    }
    const std::vector<std::pair<BufferId, BufferId>> pairs = step.overwrites;
    steps.push_back(std::move(step));
    for (BufferId b : program.reads[op]) {
      const bool gone = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) { return pair.first == b; });
      if (!gone && !program.pinned[b] && schedule.last_use(b, k)) drop(b);
    }
    for (BufferId b : program.writes[op]) {
      if (schedule.last_use(b, k)) drop(b);
    }
  }
  return steps;
}

std::optional<Placed> place(const Program& program, const std::vector<Step>& steps, std::int64_t limit,
                            const std::optional<Start>& start) {
  std::optional<Placed> best;
  for (const Policy& policy : {Policy{8, false}, Policy{64, false}, Policy{0, true}, Policy{0, false}}) {
    auto placed = Placer(program, steps, limit, policy).run(start);
    if (!placed || (best && best->moved_bytes <= placed->moved_bytes)) continue;
    best = std::move(placed);
    if (best->moved_bytes == 0) break;
  }
  return best;
}

}  // namespace tidemark::scheduler
