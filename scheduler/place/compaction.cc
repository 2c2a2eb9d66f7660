#include "scheduler/place/compaction.h"

#include <algorithm>

#include "core/extents.h"
#include "scheduler/place/occupancy.h"

namespace tidemark::scheduler {
namespace {

using core::Extents;

// Where new buffers go: those that die within `short_life` steps to the top, the others to the bottom, so that what
// comes and goes does not split what stays.
struct Policy {
  std::size_t short_life = 0;
  bool best_fit = false;
};

class Compactor {
 public:
  Compactor(const Program& program, const std::vector<Step>& steps, std::int64_t limit, const Policy& policy)
      : program_(program), steps_(steps), policy_(policy), occupancy_(limit) {
    const auto count = static_cast<std::size_t>(program.buffer_count);
    offset_.assign(count, 0);
    resident_.assign(count, 0);
    pending_.assign(count, 0);
    deaths();
  }

  std::optional<Placed> run(const std::vector<Placement>& inputs) {
    if (!begin(inputs)) return std::nullopt;
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
  }

  // What has a given offset first.
  bool begin(const std::vector<Placement>& inputs) {
    for (const bool given : {true, false}) {
      for (const Placement& p : inputs) {
        if ((p.offset != kAnywhere) != given) continue;
        const std::int64_t bytes = program_.bytes[p.buffer];
        const auto offset = given       ? p.offset
                            : bytes > 0 ? occupancy_.lowest_fit(bytes)
                                        : std::optional<std::int64_t>(0);
        if (!offset) return false;
        if (bytes > 0 && (*offset % Extents::kAlignment != 0 || !occupancy_.is_free(*offset, bytes))) return false;
        put(p.buffer, *offset);
        result_.inputs.push_back({p.buffer, *offset});
      }
    }
    return true;
  }

  void put(BufferId b, std::int64_t offset) {
    const std::int64_t bytes = program_.bytes[b];
    if (bytes > 0) occupancy_.take(b, offset, bytes);
    offset_[b] = offset;
    resident_[b] = 1;
    result_.reserved_peak = std::max(result_.reserved_peak, offset + bytes);
  }

  void lift(BufferId b) {
    if (program_.bytes[b] > 0) occupancy_.give(offset_[b]);
    resident_[b] = 0;
  }

  std::optional<std::int64_t> hole(std::int64_t bytes, std::size_t death) const {
    if (death - at_ <= policy_.short_life) return occupancy_.highest_fit(bytes);
    return policy_.best_fit ? occupancy_.best_fit(bytes) : occupancy_.lowest_fit(bytes);
  }

  void move(BufferId b, std::int64_t offset) {
    occupancy_.give(offset_[b]);
    occupancy_.take(b, offset, program_.bytes[b]);
    offset_[b] = offset;
    result_.reserved_peak = std::max(result_.reserved_peak, offset + program_.bytes[b]);
    if (pending_[b]) return;
    result_.steps.push_back(move_step(b, offset));
    result_.moved_bytes += program_.bytes[b];
  }

  std::optional<std::int64_t> room(std::int64_t bytes, std::size_t death) {
    if (const auto offset = hole(bytes, death)) return offset;
    const auto movable = [&](BufferId b) { return !program_.pinned[b]; };
    const auto segments = occupancy_.segments();
    if (const auto window = Occupancy::compaction_window(segments, bytes, movable)) {
      std::int64_t to = segments[window->first].offset;
      for (std::size_t i = window->first; i < window->last; ++i) {
        if (segments[i].hole) continue;
        if (segments[i].offset != to) move(segments[i].owner, to);
        to += segments[i].bytes;
      }
    } else {
      for (const Placement& p : occupancy_.evacuation(bytes, movable)) move(p.buffer, p.offset);
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
  Occupancy occupancy_;
  std::vector<std::int64_t> offset_;
  std::vector<char> resident_;
  std::vector<char> pending_;
  std::vector<std::vector<std::size_t>> death_;
  std::size_t at_ = 0;
  Placed result_;
};

}  // namespace

std::optional<Placed> place_with_moves(const Program& program, const std::vector<Step>& steps, std::int64_t limit,
                                       const std::vector<Placement>& inputs) {
  std::optional<Placed> best;
  for (const Policy& policy : {Policy{8, false}, Policy{64, false}, Policy{0, true}, Policy{0, false}}) {
    auto placed = Compactor(program, steps, limit, policy).run(inputs);
    if (!placed || (best && best->moved_bytes <= placed->moved_bytes)) continue;
    best = std::move(placed);
  }
  return best;
}

}  // namespace tidemark::scheduler
