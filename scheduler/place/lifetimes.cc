#include "scheduler/place/lifetimes.h"

#include <algorithm>

#include "core/extents.h"

namespace tidemark::scheduler {
namespace {

using core::Extents;

// Stays in the order in which they begin, each with the block it belongs to.
class Collector {
 public:
  Collector(const Program& program, std::span<const Placement> inputs) : program_(program) {
    open_.assign(static_cast<std::size_t>(program.buffer_count), kNone);
    for (const Placement& p : inputs) begin(p.buffer, new_block(program.bytes[index(p.buffer)], p.offset), run_);
  }

  Lifetimes collect(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      if (step.kind == Step::Kind::kDrop) {
        end(step.id);
      } else {
        run_op(step);
      }
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (open_[index(b)] != kNone) end(b);
    }
    return finish();
  }

 private:
  static constexpr std::int32_t kNone = -1;   // not in memory
  static constexpr std::int32_t kEmpty = -2;  // in memory, without bytes
  struct Entry {
    Stay stay;
    std::int32_t block;
  };

  static std::size_t index(std::int32_t i) { return static_cast<std::size_t>(i); }

  std::int32_t new_block(std::int64_t bytes, std::int64_t given) {
    if (bytes == 0) return kEmpty;
    given_.push_back(given);
    return static_cast<std::int32_t>(given_.size()) - 1;
  }

  void begin(BufferId b, std::int32_t block, std::int32_t from) {
    const std::int64_t bytes = Extents::round_up(program_.bytes[index(b)]);
    open_[index(b)] = kEmpty;
    if (bytes == 0) return;
    open_[index(b)] = static_cast<std::int32_t>(entries_.size());
    entries_.push_back({{from, from, bytes, b}, block});
  }

  void end(BufferId b) {
    if (open_[index(b)] >= 0) entries_[index(open_[index(b)])].stay.to = run_;
    open_[index(b)] = kNone;
  }

  void run_op(const Step& step) {
    ++run_;
    for (BufferId w : program_.writes[step.id]) {
      const auto over = [&](const auto& pair) { return pair.second == w; };
      const bool in_place = std::any_of(step.overwrites.begin(), step.overwrites.end(), over);
      if (open_[index(w)] == kNone && !in_place) begin(w, new_block(program_.bytes[index(w)], kAnywhere), run_);
    }
    if (const std::int64_t bytes = program_.scratch[index(step.id)]; bytes > 0) {
      entries_.push_back({{run_, run_, Extents::round_up(bytes), kScratch}, new_block(bytes, kAnywhere)});
    }
    for (const auto& [r, w] : step.overwrites) {
      const std::int32_t before = open_[index(r)];
      end(r);
      // While the op runs, the larger one has the place.
      begin(w, before >= 0 ? entries_[index(before)].block : kEmpty, run_ + 1);
    }
  }

  Lifetimes finish() {
    std::erase_if(entries_, [](const Entry& e) { return e.stay.to < e.stay.from; });
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const Entry& a, const Entry& b) { return a.block < b.block; });
    Lifetimes result;
    result.runs = run_ + 1;
    std::vector<std::int64_t> change(index(result.runs) + 1, 0);
    for (const Entry& e : entries_) {
      result.stays.push_back(e.stay);
      change[index(e.stay.from)] += e.stay.bytes;
      change[index(e.stay.to) + 1] -= e.stay.bytes;
    }
    std::int64_t live = 0;
    for (const std::int64_t c : change) result.live_peak = std::max(result.live_peak, live += c);
    result.blocks.resize(given_.size());
    std::size_t at = 0;
    for (std::size_t b = 0; b < result.blocks.size(); ++b) {
      const std::size_t first = at;
      while (at < entries_.size() && index(entries_[at].block) == b) ++at;
      Block& block = result.blocks[b];
      block = {std::span(result.stays).subspan(first, at - first), given_[b]};
      if (block.given >= 0) result.given_end = std::max(result.given_end, block.given + block.bytes());
    }
    return result;
  }

  const Program& program_;
  std::vector<std::int64_t> given_;  // of blocks
  std::vector<std::int32_t> open_;   // buffer -> its present stay
  std::vector<Entry> entries_;
  std::int32_t run_ = 0;
};

}  // namespace

std::int64_t Block::bytes() const {
  std::int64_t most = 0;
  for (const Stay& s : stays) most = std::max(most, s.bytes);
  return most;
}

const Stay& Block::at(std::int32_t run) const {
  return *std::find_if(stays.begin(), stays.end(), [&](const Stay& s) { return s.to >= run; });
}

Lifetimes Lifetimes::reversed() const {
  Lifetimes result;
  result.runs = runs;
  result.live_peak = live_peak;
  result.given_end = given_end;
  for (const Block& block : blocks) {
    for (auto stay = block.stays.rbegin(); stay != block.stays.rend(); ++stay) {
      result.stays.push_back({runs - 1 - stay->to, runs - 1 - stay->from, stay->bytes, stay->buffer});
    }
  }
  std::size_t at = 0;
  for (const Block& block : blocks) {
    result.blocks.push_back({std::span(result.stays).subspan(at, block.stays.size()), block.given});
    at += block.stays.size();
  }
  return result;
}

Lifetimes lifetimes_of(const Program& program, const std::vector<Step>& steps, std::span<const Placement> inputs) {
  return Collector(program, inputs).collect(steps);
}

}  // namespace tidemark::scheduler
