#include "scheduler/place/place.h"

#include <algorithm>

#include "core/extents.h"
#include "scheduler/place/compaction.h"
#include "scheduler/place/lifetimes.h"
#include "scheduler/place/occupancy.h"
#include "scheduler/place/offsets.h"

namespace tidemark::scheduler {
namespace {

using core::Extents;

// Steps with the offsets that were chosen ahead of time.
class Writer {
 public:
  Writer(const Program& program, const Lifetimes& lifetimes, const Assignment& assignment)
      : program_(program), lifetimes_(lifetimes), assignment_(assignment), moves_(assignment.moves) {
    offset_.assign(static_cast<std::size_t>(program.buffer_count), 0);
    resident_.assign(static_cast<std::size_t>(program.buffer_count), 0);
    std::stable_sort(moves_.begin(), moves_.end(),
                     [](const BlockMove& a, const BlockMove& b) { return a.run < b.run; });
  }

  Placed write(const std::vector<Step>& steps, const std::vector<Placement>& inputs) {
    for (const Placement& p : inputs) {
      put(p.buffer, next(program_.bytes[p.buffer]));
      result_.inputs.push_back({p.buffer, offset_[p.buffer]});
    }
    std::int32_t run = 0;
    for (const Step& step : steps) {
      if (step.kind == Step::Kind::kDrop) {
        resident_[step.id] = 0;
        result_.steps.push_back(step);
        continue;
      }
      ++run;
      for (; moved_ < moves_.size() && moves_[moved_].run == run; ++moved_) move(moves_[moved_]);
      run_op(step);
    }
    result_.reserved_peak = assignment_.peak;
    result_.moved_bytes = assignment_.moved_bytes;
    return std::move(result_);
  }

 private:
  // Of the next block; what has no bytes has none.
  std::int64_t next(std::int64_t bytes) { return bytes > 0 ? assignment_.offset[block_++] : 0; }

  void put(BufferId b, std::int64_t offset) {
    offset_[b] = offset;
    resident_[b] = 1;
  }

  void move(const BlockMove& move) {
    const BufferId b = lifetimes_.blocks[static_cast<std::size_t>(move.block)].at(move.run).buffer;
    offset_[b] = move.offset;
    result_.steps.push_back(move_step(b, move.offset));
  }

  void run_op(const Step& step) {
    Step placed = step;
    placed.places.clear();
    for (const BufferId w : program_.writes[step.id]) {
      const auto over = [&](const auto& pair) { return pair.second == w; };
      if (resident_[w] || std::any_of(step.overwrites.begin(), step.overwrites.end(), over)) continue;
      put(w, next(program_.bytes[w]));
      placed.places.push_back({w, offset_[w]});
    }
    if (const std::int64_t bytes = program_.scratch[step.id]; bytes > 0) {
      placed.places.push_back({kScratch, next(bytes)});
    }
    for (const auto& [r, w] : step.overwrites) {
      resident_[r] = 0;
      put(w, offset_[r]);
      placed.places.push_back({w, offset_[w]});
    }
    result_.steps.push_back(std::move(placed));
  }

  const Program& program_;
  const Lifetimes& lifetimes_;
  const Assignment& assignment_;
  std::vector<BlockMove> moves_;
  std::size_t moved_ = 0;
  std::size_t block_ = 0;
  std::vector<std::int64_t> offset_;
  std::vector<char> resident_;
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

std::vector<Placement> places_at_start(const Program& program, const std::optional<Start>& start) {
  std::vector<Placement> places;
  Occupancy occupancy(kUnlimited);
  const auto take = [&](const Placement& p) {
    const std::int64_t bytes = program.bytes[p.buffer];
    if (bytes > 0 && p.offset >= 0 && p.offset % Extents::kAlignment == 0 && occupancy.is_free(p.offset, bytes)) {
      occupancy.take(p.buffer, p.offset, bytes);
    }
  };
  if (start) {
    places = start->resident;
    for (const Placement& p : places) take(p);
  } else {
    for (BufferId b = 0; b < program.buffer_count; ++b) {
      if (program.at_start[b]) places.push_back({b, kAnywhere});
    }
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const Placement& a, const Placement& b) { return a.buffer < b.buffer; });
  for (Placement& p : places) {
    if (p.offset != kAnywhere || !program.pinned[p.buffer]) continue;
    p.offset = program.bytes[p.buffer] > 0 ? *occupancy.lowest_fit(program.bytes[p.buffer]) : 0;
    take(p);
  }
  return places;
}

bool start_is_possible(const Program& program, const std::vector<Placement>& inputs) {
  Occupancy occupancy(kUnlimited);
  for (const Placement& p : inputs) {
    const std::int64_t bytes = program.bytes[p.buffer];
    if (p.offset == kAnywhere || bytes == 0) continue;
    if (p.offset < 0 || p.offset % Extents::kAlignment != 0 || !occupancy.is_free(p.offset, bytes)) return false;
    occupancy.take(p.buffer, p.offset, bytes);
  }
  return true;
}

std::int64_t end_at_start(const Program& program, const std::optional<Start>& start) {
  std::int64_t end = 0;
  if (!start) return end;
  for (const Placement& p : start->resident) {
    if (p.offset != kAnywhere) end = std::max(end, p.offset + program.bytes[p.buffer]);
  }
  return end;
}

std::optional<Placed> place(const Program& program, const std::vector<Step>& steps, std::int64_t limit,
                            const std::optional<Start>& start) {
  limit = limit / Extents::kAlignment * Extents::kAlignment;
  const std::vector<Placement> inputs = places_at_start(program, start);
  const Lifetimes lifetimes = lifetimes_of(program, steps, inputs);
  std::optional<Placed> best;
  if (start_is_possible(program, inputs)) {
    if (const auto assignment = choose_offsets(lifetimes, limit))
      best = Writer(program, lifetimes, *assignment).write(steps, inputs);
  }
  if (best && best->moved_bytes == 0) return best;
  auto moved = place_with_moves(program, steps, limit, inputs);
  return !best || (moved && moved->moved_bytes < best->moved_bytes) ? std::move(moved) : std::move(best);
}

}  // namespace tidemark::scheduler
