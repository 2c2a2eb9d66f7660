// A timeline as a trace file in Chrome's JSON format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
#pragma once

#include <string>

#include "tidemark/timeline.h"

#pragma GCC visibility push(default)
namespace tidemark {

// Spans on one track for each kind of work, and counters of the live bytes by category, of reserved bytes and of the
// budget. Times are in microseconds. The file is written whole in the place of one that is there, or FileError is
// thrown and nothing has changed.
void write_trace(const Timeline& timeline, const std::string& path);

}  // namespace tidemark
#pragma GCC visibility pop
