// Offsets from the ground up: what has been placed is a skyline over time, and the next block goes into one of its
// valleys, on the ground of it.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "scheduler/place/lifetimes.h"

namespace tidemark::scheduler {

class Skyline {
 public:
  // Of the blocks that fit into a valley: the longest of those that begin first; or the one that takes the most of it,
  // better still where it ends level with the sides.
  enum class Rule : std::uint8_t { kFirst, kLargest };

  explicit Skyline(const Lifetimes& lifetimes);

  // Every block, in the lowest valley first; where none fits, the valley is given up and raised to its lower side.
  // Nothing where that takes more than `work`, which is counted down.
  std::optional<std::vector<std::int64_t>> fill(Rule rule, std::int64_t& work);

  // Every block below `limit`, with what remains to be placed over each run always within what is left there. A valley
  // with the fewest choices is filled next, in the order of a noisy rule, and choices are taken back where one has
  // none. It may give up after `most_choices`, and after `work`.
  std::optional<std::vector<std::int64_t>> fill_below(std::int64_t limit, std::int64_t most_choices, std::uint64_t seed,
                                                      std::int64_t& work);

 private:
  struct Segment {
    std::int32_t from = 0;
    std::int32_t to = 0;
    std::int64_t height = 0;
  };
  struct Choice {
    std::int32_t block = -1;  // none: the valley is raised
    std::int64_t raise = 0;   // of the runs before the block, or of the whole valley
    double key = 0;
  };
  struct Undo {
    std::int32_t block = -1;  // taken off; or, where none, runs whose spare is given back
    std::int32_t from = 0;
    std::int32_t to = 0;
    std::int64_t bytes = 0;
  };
  struct Branch {
    std::vector<Segment> segments;
    std::vector<Choice> choices;
    std::size_t next = 0;
    std::size_t valley = 0;
    std::size_t undo = 0;
    std::size_t left = 0;
  };

  void begin();
  std::int64_t left_side(std::size_t valley) const;
  std::int64_t right_side(std::size_t valley) const;
  std::int32_t first_waiting(std::int32_t run);
  std::int32_t choose(std::size_t valley, Rule rule);
  void put(std::size_t valley, std::int32_t block, std::int64_t raise);
  void raise(std::size_t valley, std::int64_t height);
  void join(std::size_t first, std::size_t last);
  void list_choices(std::size_t valley, std::vector<Choice>& choices);
  std::size_t narrowest(std::vector<Choice>& choices);
  void spend(std::int32_t from, std::int32_t to, std::int64_t bytes);
  void take(const Branch& branch, const Choice& choice);
  void take_back(std::size_t size);

  const Lifetimes& lifetimes_;
  std::vector<std::vector<std::int32_t>> starting_;  // run -> free blocks that begin there, the longest first
  std::vector<std::int64_t> ground_;                 // run -> the end of what the start gives an offset
  std::vector<double> area_;                         // block -> bytes by runs
  std::size_t free_ = 0;

  std::vector<Segment> segments_;
  std::vector<char> placed_;
  std::vector<std::int64_t> offset_;
  std::size_t left_ = 0;
  std::vector<std::int32_t> waiting_;  // run -> a later one, on the way to one where a block begins; of fill()
  std::vector<std::int64_t> spare_;    // run -> bytes that may stay empty
  std::vector<Undo> undo_;
  std::mt19937_64 random_;
  double noise_ = 0;
  std::int64_t work_ = 0;
};

}  // namespace tidemark::scheduler
