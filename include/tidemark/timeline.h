// What a session does, moment by moment: which ops run when, and whose bytes are in memory.
//
//   session.start_timeline();
//   train_one_step();
//   const td::Timeline timeline = session.stop_timeline();
//   std::printf("%lld bytes at the peak\n", static_cast<long long>(timeline.peak().bytes));
//
// report.h makes pictures and trace files of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/units.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct Timeline {
  enum class Track : std::uint8_t {
    kForward,
    kBackward,
    kRecompute,  // an op that had run before, in either direction
    kReorder,    // of a value into the layout that a kernel wants
    kMove,       // of a value to another place
    kOptimizer,
    kPlanning,
    kData,  // waiting for a loader or a file
  };
  static constexpr int kTracks = 8;

  // An op of the program, or what holds bytes.
  struct Label {
    std::string name;
    std::string where;  // the user's line; empty for what has none
  };
  // Seconds count from the start of the timeline.
  struct Span {
    Track track = Track::kForward;
    std::int32_t label = 0;
    double begin = 0;
    double end = 0;
    std::int64_t bytes = 0;       // kMove: copied
    std::uint64_t signature = 0;  // of an op: the same in every step that is recorded alike
  };
  // Whoever takes bytes: a value, a leaf, or a kernel's scratchpad.
  struct Holder {
    std::int32_t label = 0;
    std::int64_t bytes = 0;  // as the arena counts them
    Category category = Category::kActivations;
    std::string shape;  // "[8, 64, 32, 32]"; empty where there is none
  };
  // From now on the holder has its bytes, or has them no more.
  struct Change {
    double seconds = 0;
    std::int32_t holder = 0;
    bool live = false;
    std::int64_t reserved = 0;  // the highest end of a place in use, after the change
  };

  std::optional<std::int64_t> budget;
  std::vector<Label> labels;
  std::vector<Holder> holders;
  std::vector<Span> spans;      // in the order in which they ended
  std::vector<Change> changes;  // in order; what was live at the start comes first, at 0 seconds
  std::vector<double> step_ends;
  double seconds = 0;  // from start to stop

  struct Peak {
    std::size_t change = 0;  // after this one, the first of several
    std::int64_t bytes = 0;
    std::array<std::int64_t, kCategories> by_category{};
    std::int64_t reserved = 0;  // the highest of all, at whichever moment
  };
  Peak peak() const;
  // The holders that are live after this change, the largest first.
  std::vector<std::int32_t> live_after(std::size_t change) const;
};

const char* to_string(Timeline::Track track);

}  // namespace tidemark
#pragma GCC visibility pop
