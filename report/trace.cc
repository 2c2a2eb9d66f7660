#include "tidemark/trace.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/output_file.h"

namespace tidemark {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kChunk = std::size_t{1} << 20;

// One event a line, appended to the file in large pieces.
class Events {
 public:
  explicit Events(core::OutputFile& file) : file_(file) { text_ = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":["; }

  void add(const Json& event) {
    text_ += first_ ? "\n" : ",\n";
    first_ = false;
    // Names may hold what is no UTF-8.
    text_ += event.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text_.size() < kChunk) return;
    file_.append(text_);
    text_.clear();
  }
  void finish() {
    text_ += "\n]}\n";
    file_.append(text_);
    file_.publish();
  }

 private:
  core::OutputFile& file_;
  std::string text_;
  bool first_ = true;
};

double microseconds(double seconds) { return 1e6 * seconds; }

}  // namespace

void write_trace(const Timeline& timeline, const std::string& path) {
  core::OutputFile file(path);
  Events events(file);
  constexpr int kProcess = 1;
  const auto name = [&](const char* what, int thread, const std::string& text) {
    events.add({{"ph", "M"}, {"name", what}, {"pid", kProcess}, {"tid", thread}, {"args", {{"name", text}}}});
  };
  name("process_name", 0, "tidemark");
  for (int track = 0; track < Timeline::kTracks; ++track) {
    name("thread_name", track + 1, to_string(static_cast<Timeline::Track>(track)));
    events.add({{"ph", "M"},
                {"name", "thread_sort_index"},
                {"pid", kProcess},
                {"tid", track + 1},
                {"args", {{"sort_index", track}}}});
  }
  for (const Timeline::Span& span : timeline.spans) {
    const Timeline::Label& label = timeline.labels[static_cast<std::size_t>(span.label)];
    Json event = {{"ph", "X"},
                  {"name", label.name.empty() ? to_string(span.track) : label.name},
                  {"cat", to_string(span.track)},
                  {"pid", kProcess},
                  {"tid", static_cast<int>(span.track) + 1},
                  {"ts", microseconds(span.begin)},
                  {"dur", microseconds(span.end - span.begin)}};
    if (!label.where.empty()) event["args"]["line"] = label.where;
    if (span.bytes > 0) event["args"]["bytes"] = span.bytes;
    events.add(event);
  }
  for (const double end : timeline.step_ends) {
    events.add(
        {{"ph", "i"}, {"name", "step ends"}, {"pid", kProcess}, {"tid", 1}, {"ts", microseconds(end)}, {"s", "p"}});
  }
  const auto counter = [&](const char* what, double seconds, Json values) {
    events.add(
        {{"ph", "C"}, {"name", what}, {"pid", kProcess}, {"ts", microseconds(seconds)}, {"args", std::move(values)}});
  };
  if (timeline.budget) {
    counter("budget", 0, {{"bytes", *timeline.budget}});
    counter("budget", timeline.seconds, {{"bytes", *timeline.budget}});
  }
  std::array<std::int64_t, kCategories> live{};
  for (std::size_t i = 0; i < timeline.changes.size(); ++i) {
    const Timeline::Change& change = timeline.changes[i];
    const Timeline::Holder& holder = timeline.holders[static_cast<std::size_t>(change.holder)];
    live[static_cast<std::size_t>(holder.category)] += change.live ? holder.bytes : -holder.bytes;
    // What changes at one moment is one event.
    if (i + 1 < timeline.changes.size() && timeline.changes[i + 1].seconds == change.seconds) continue;
    Json values;
    for (int c = 0; c < kCategories; ++c) {
      values[to_string(static_cast<Category>(c))] = live[static_cast<std::size_t>(c)];
    }
    counter("live bytes", change.seconds, std::move(values));
    counter("reserved", change.seconds, {{"bytes", change.reserved}});
  }
  events.finish();
}

}  // namespace tidemark
