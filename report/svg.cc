// Pictures by gnuplot, for documents.
#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "core/output_file.h"
#include "report/script.h"
#include "tidemark/error.h"
#include "tidemark/page.h"

namespace tidemark {
namespace {

constexpr double kMiB = 1048576;

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

// What gnuplot draws to its standard output.
std::string drawn(const std::string& script) {
  const report::ScriptEnd end = report::run_script("gnuplot", script, {}, report::Errors::kDropped);
  if (end.code == 127) {
    throw Error("gnuplot is not there, and it draws the SVGs: install gnuplot-nox, or take the HTML page");
  }
  if (end.code != 0 || end.output.find("</svg>") == std::string::npos) throw Error("gnuplot drew no picture");
  return end.output;
}

void write(const std::string& script, const std::string& path) {
  core::OutputFile file(path);
  file.append(drawn(script));
  file.publish();
}

std::string head(const std::string& title, const std::string& x, const std::string& y) {
  std::string quoted;
  for (const char c : title) quoted += c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  return "set terminal svg size 900,480 font 'sans-serif,13' background rgb 'white' noenhanced\nset title \"" + quoted +
         "\"\nset xlabel '" + x + "'\nset ylabel '" + y +
         "'\nset grid lc rgb '#dddddd'\nset border lc rgb '#555555'\nset yrange [0:*]\nset offsets 0, 0, graph 0.06, "
         "0\nset key outside bottom center "
         "horizontal\n";
}

}  // namespace

void write_svg(const Sweep& sweep, const std::string& path) {
  std::vector<const SweepPoint*> points;
  for (const SweepPoint& point : sweep.points) {
    if (!point.runs.empty()) points.push_back(&point);
  }
  if (points.empty()) throw Error("[write_svg] the sweep has no point that was measured");
  // The run without a budget stands at its peak.
  const auto bytes = [&](const SweepPoint* point) {
    return static_cast<double>(point->budget.value_or(sweep.peak_bytes)) / kMiB;
  };
  std::sort(points.begin(), points.end(),
            [&](const SweepPoint* a, const SweepPoint* b) { return bytes(a) < bytes(b); });
  std::string script = head(sweep.options.subject.empty() ? sweep.options.name : sweep.options.subject,
                            "bytes of everything, MiB", "seconds a step");
  script += "$points << END\n";
  for (const SweepPoint* point : points) {
    script += number(bytes(point)) + " " + number(point->seconds) + " " + number(point->predicted) + " " +
              number(point->bound) + "\n";
  }
  script +=
      "END\nplot $points using 1:2 with linespoints lw 2 pt 7 ps 0.7 lc rgb '#4c78a8' title 'measured', "
      "$points using 1:3 with lines lw 1.5 dt 2 lc rgb '#f58518' title 'predicted', "
      "$points using 1:4 with lines lw 1.5 dt 3 lc rgb '#54a24b' title 'no plan takes less'";
  static constexpr const char* kColours[] = {"#e45756", "#b279a2", "#9d755d"};
  for (std::size_t i = 0; i < sweep.peers.size(); ++i) {
    const SweepPeer& peer = sweep.peers[i];
    if (peer.seconds.empty()) continue;
    script += ", '-' with points pt 5 ps 1.2 lc rgb '" + std::string(kColours[i % 3]) + "' title '" + peer.name + "'";
  }
  script += "\n";
  for (const SweepPeer& peer : sweep.peers) {
    if (peer.seconds.empty()) continue;
    script += number(static_cast<double>(peer.peak_bytes) / kMiB) + " " + number(peer.median_seconds()) + "\ne\n";
  }
  write(script, path);
}

void write_svg(const Timeline& timeline, const std::string& path) {
  if (timeline.changes.empty()) throw Error("[write_svg] the timeline is empty");
  static constexpr const char* kColours[] = {"#4c78a8", "#f58518", "#b279a2", "#54a24b",
                                             "#9d755d", "#72b7b2", "#e45756"};
  std::string script = head("memory of a step", "seconds", "MiB");
  script += "$bytes << END\n";
  std::array<std::int64_t, kCategories> live{};
  const auto row = [&](double seconds, std::int64_t reserved) {
    script += number(seconds);
    std::int64_t sum = 0;
    for (const std::int64_t each : live) script += " " + number(static_cast<double>(sum += each) / kMiB);
    script += " " + number(static_cast<double>(reserved) / kMiB) + "\n";
  };
  for (std::size_t i = 0; i < timeline.changes.size(); ++i) {
    const Timeline::Change& change = timeline.changes[i];
    const Timeline::Holder& holder = timeline.holders[static_cast<std::size_t>(change.holder)];
    live[static_cast<std::size_t>(holder.category)] += change.live ? holder.bytes : -holder.bytes;
    const bool last = i + 1 == timeline.changes.size();
    if (!last && timeline.changes[i + 1].seconds == change.seconds) continue;
    row(change.seconds, change.reserved);
    row(last ? timeline.seconds : timeline.changes[i + 1].seconds, change.reserved);
  }
  script += "END\n";
  for (const Timeline::Span& span : timeline.spans) {
    if (span.track != Timeline::Track::kRecompute) continue;
    script += "set object rectangle from " + number(span.begin) + ",graph 0 to " + number(span.end) +
              ",graph 1 fc rgb '#f2c7c3' fs solid noborder behind\n";
  }
  script += "plot ";
  for (int c = kCategories - 1; c >= 0; --c) {
    script += "$bytes using 1:" + std::to_string(c + 2) + " with filledcurves x1 fs solid 0.85 lc rgb '" + kColours[c] +
              "' title '" + to_string(static_cast<Category>(c)) + "', ";
  }
  script += "$bytes using 1:" + std::to_string(kCategories + 2) + " with lines lc rgb '#222222' title 'reserved'";
  if (timeline.budget) {
    script += ", " + number(static_cast<double>(*timeline.budget) / kMiB) +
              " with lines dt 2 lc rgb '#b3261e' title 'budget'";
  }
  write(script + "\n", path);
}

}  // namespace tidemark
