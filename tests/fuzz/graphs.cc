#include "tests/fuzz/graphs.h"

#include <bit>

namespace tidemark::fuzz {
namespace {

using scheduler::BufferId;
using scheduler::Graph;
using scheduler::Op;

class Maker {
 public:
  Maker(Input& input, bool wild) : input_(input), wild_(wild) {}

  Graph make(int most_ops) {
    for (int i = input_.number(0, 3); i > 0; --i) add_buffer(input_.flag());
    for (int i = input_.number(1, most_ops); i > 0; --i) add_op();
    for (int i = input_.number(0, 2); i > 0; --i) graph_.keep.push_back(any_buffer());
    return std::move(graph_);
  }

 private:
  BufferId add_buffer(bool pinned) {
    graph_.buffers.push_back({any_bytes(), "", pinned});
    return static_cast<BufferId>(graph_.buffers.size()) - 1;
  }

  void add_op() {
    Op op;
    const int features = input_.byte();
    op.cost = any_cost();
    if (!graph_.buffers.empty()) {
      for (int i = input_.number(0, 3); i > 0; --i) op.reads.push_back(any_buffer());
      if ((features & 3) == 3) op.updates.push_back(any_buffer());
      if ((features & 4) != 0) op.releases = {any_buffer()};
    }
    if ((features & 8) != 0) op.scratch = any_bytes();
    op.once = (features & 0x70) == 0x70;
    op.phase = static_cast<scheduler::Phase>(features % 3);
    for (int i = input_.number(0, 5) / 2; i > 0; --i) op.writes.push_back(add_buffer(false));
    if ((features & 0x80) != 0 && !op.reads.empty() && !op.writes.empty()) {
      const BufferId read = op.reads[0];
      const BufferId write = op.writes[0];
      if (wild_ || graph_.buffers[read].bytes >= graph_.buffers[write].bytes) op.overwrites = {{read, write}};
    }
    if (wild_ && input_.byte() == 0xFF) op.writes.push_back(any_buffer());
    graph_.ops.push_back(std::move(op));
  }

  BufferId any_buffer() {
    const auto count = static_cast<int>(graph_.buffers.size());
    if (wild_) return input_.number(-1, count);
    return count == 0 ? 0 : count - 1 - input_.number(0, count - 1);
  }

  std::int64_t any_bytes() {
    const int kind = input_.byte();
    if (wild_ && kind == 0xFF) return static_cast<std::int64_t>(input_.word());
    if (kind >= 0xF0) return std::int64_t{1} << (kind - 0xF0 + 33);  // sums of several may pass 2^52
    if (kind >= 0xC0) return kind - 0xC0;                            // no multiples of the alignment
    return std::int64_t{64} * (kind % 16);
  }

  double any_cost() {
    const int kind = input_.byte();
    if (wild_ && kind == 0xFF) return std::bit_cast<double>(input_.word());
    static constexpr double kRare[] = {0, 1e-300, 1e-9, 0.1, 1e9, 1e15, 1e90, 5e-324};
    return kind >= 0xE0 ? kRare[kind % 8] : kind % 16;
  }

  Input& input_;
  bool wild_;
  Graph graph_;
};

}  // namespace

scheduler::Graph any_graph(Input& input, int most_ops, bool wild) { return Maker(input, wild).make(most_ops); }

std::int64_t any_budget(Input& input, std::int64_t least, std::int64_t peak) {
  const int kind = input.byte();
  if (kind >= 0xF0) return static_cast<std::int64_t>(input.word());
  if (kind >= 0xE0) return peak + (kind - 0xE8);
  if (kind >= 0xD0) return static_cast<std::int64_t>(static_cast<double>(least) * ((kind - 0xD0) / 16.0));
  return least + static_cast<std::int64_t>(static_cast<double>(peak - least) * (kind / 192.0));
}

}  // namespace tidemark::fuzz
