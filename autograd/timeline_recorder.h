// Writes down what runs and whose bytes are in memory, while somebody asks for it (Session::start_timeline). Storages
// tells it of bytes, Replay and the Advisor of time. While it is off each of these calls is one comparison.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tidemark/error.h"
#include "tidemark/timeline.h"

namespace tidemark::detail {

class TimelineRecorder {
 public:
  using Clock = std::chrono::steady_clock;

  bool on() const { return on_; }
  void start(std::optional<std::int64_t> budget);
  Timeline stop();

  // --- bytes. `key` is the holder's for its whole life, and nobody else's.
  // What placed() is going to say about this key, where it is not known yet.
  void describe(std::int64_t key, std::string_view name, SourceLocation where, std::string shape);
  void placed(std::int64_t key, std::string_view name, SourceLocation where, std::int64_t bytes, Category category,
              std::int64_t reserved) {
    if (on_) change(key, name, where, bytes, category, reserved, true);
  }
  void dropped(std::int64_t key, std::int64_t reserved) {
    if (on_) change(key, {}, {}, 0, {}, reserved, false);
  }
  // Nobody will speak of the key again.
  void forget(std::int64_t key) {
    if (on_) holders_.erase(key);
  }

  // --- time
  void span(Timeline::Track track, std::string_view name, SourceLocation where, Clock::time_point begin,
            std::int64_t bytes, std::uint64_t signature);
  void step_ended();

 private:
  void change(std::int64_t key, std::string_view name, SourceLocation where, std::int64_t bytes, Category category,
              std::int64_t reserved, bool live);
  std::int32_t label(std::string_view name, SourceLocation where);
  double seconds(Clock::time_point at) const { return std::chrono::duration<double>(at - start_).count(); }

  bool on_ = false;
  Clock::time_point start_;
  Timeline timeline_;
  std::unordered_map<std::uint64_t, std::int32_t> labels_;  // by a hash of name and place
  struct Known {
    std::int32_t holder = -1;  // -1: described, and not placed yet
    std::int32_t label = 0;
    std::string shape;
  };
  std::unordered_map<std::int64_t, Known> holders_;  // by key
};

}  // namespace tidemark::detail
