#include "autograd/timeline_recorder.h"

#include <xxhash.h>

#include <string>

namespace tidemark::detail {

void TimelineRecorder::start(std::optional<std::int64_t> budget) {
  *this = TimelineRecorder();
  timeline_.budget = budget;
  start_ = Clock::now();
  on_ = true;
}

Timeline TimelineRecorder::stop() {
  timeline_.seconds = seconds(Clock::now());
  Timeline done = std::move(timeline_);
  *this = TimelineRecorder();
  return done;
}

std::int32_t TimelineRecorder::label(std::string_view name, SourceLocation where) {
  std::uint64_t hash = XXH3_64bits(name.data(), name.size());
  hash = XXH3_64bits_withSeed(&where.line, sizeof where.line, hash);
  hash = XXH3_64bits_withSeed(where.file, std::char_traits<char>::length(where.file), hash);
  const auto [found, made] = labels_.try_emplace(hash, static_cast<std::int32_t>(timeline_.labels.size()));
  if (made) timeline_.labels.push_back({std::string(name), where.line > 0 ? to_string(where) : std::string()});
  return found->second;
}

void TimelineRecorder::describe(std::int64_t key, std::string_view name, SourceLocation where, std::string shape) {
  const auto [found, made] = holders_.try_emplace(key);
  if (made) found->second = {-1, label(name, where), std::move(shape)};
}

void TimelineRecorder::change(std::int64_t key, std::string_view name, SourceLocation where, std::int64_t bytes,
                              Category category, std::int64_t reserved, bool live) {
  const auto [found, made] = holders_.try_emplace(key);
  Known& known = found->second;
  if (made) known.label = label(name, where);
  // A holder that changes its category is another one from then on.
  const auto is = [&](std::int32_t holder) {
    const Timeline::Holder& each = timeline_.holders[static_cast<std::size_t>(holder)];
    return each.bytes == bytes && each.category == category;
  };
  if (live && (known.holder < 0 || !is(known.holder))) {
    known.holder = static_cast<std::int32_t>(timeline_.holders.size());
    timeline_.holders.push_back({known.label, bytes, category, known.shape});
  }
  timeline_.changes.push_back({seconds(Clock::now()), known.holder, live, reserved});
}

void TimelineRecorder::span(Timeline::Track track, std::string_view name, SourceLocation where, Clock::time_point begin,
                            std::int64_t bytes, std::uint64_t signature) {
  timeline_.spans.push_back({track, label(name, where), seconds(begin), seconds(Clock::now()), bytes, signature});
}

void TimelineRecorder::step_ended() {
  if (on_) timeline_.step_ends.push_back(seconds(Clock::now()));
}

}  // namespace tidemark::detail
