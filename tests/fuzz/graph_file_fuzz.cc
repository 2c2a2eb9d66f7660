// Any file as a graph: it is refused with its name, or what is written of it reads as the same graph.
#include <string>

#include "tests/fuzz/input.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile file({data, size});
  scheduler::Graph graph;
  try {
    graph = scheduler::read_graph(file.path());
  } catch (const FileError& error) {
    require(std::string(error.what()).starts_with(file.path() + ": "), "an error names the file");
    return 0;
  }
  const std::string first = fuzz::folder() / "first.json";
  const std::string second = fuzz::folder() / "second.json";
  scheduler::write_graph(graph, first);
  const scheduler::Graph again = scheduler::read_graph(first);
  require(again.ops.size() == graph.ops.size() && again.buffers.size() == graph.buffers.size(), "nothing is lost");
  scheduler::write_graph(again, second);
  require(fuzz::read_whole(first) == fuzz::read_whole(second), "a graph that was read is written as it was");
  require(scheduler::least_budget(graph) <= scheduler::peak_without_recomputation(graph), "least <= peak");
  return 0;
}
