// What was measured as one HTML file that opens offline: charts that answer to the pointer, tables that sort.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tidemark/explanation.h"
#include "tidemark/sweep.h"
#include "tidemark/timeline.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct Page {
  std::string title;
  std::string command;  // that made it
  std::optional<Sweep> sweep = {};
  std::optional<Timeline> timeline = {};  // of one step, best: it is drawn whole
  std::optional<Explanation> explanation = {};
};

// The file is written whole in the place of one that is there, or FileError is thrown and nothing has changed.
void write_page(const Page& page, const std::string& path);

// The sweep's curve, or the timeline's stacked bytes, as an SVG, drawn by gnuplot. Throws Error where that is not
// installed, and FileError where the file cannot be written.
void write_svg(const Sweep& sweep, const std::string& path);
void write_svg(const Timeline& timeline, const std::string& path);

// The machine, the versions of what computes, and when: pairs of what and which.
std::vector<std::pair<std::string, std::string>> describe_machine();

}  // namespace tidemark
#pragma GCC visibility pop
