// A Graph checked and laid out for the algorithms: flat lists, producers, and from when on an op may not run again.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

// Lists of ids, one after the other in one array.
class Lists {
 public:
  void append(std::span<const std::int32_t> items) {
    items_.insert(items_.end(), items.begin(), items.end());
    start_.push_back(static_cast<std::int32_t>(items_.size()));
  }
  std::span<const std::int32_t> operator[](std::int32_t i) const {
    const auto first = static_cast<std::size_t>(start_[static_cast<std::size_t>(i)]);
    return std::span(items_).subspan(first, static_cast<std::size_t>(start_[static_cast<std::size_t>(i) + 1]) - first);
  }

 private:
  std::vector<std::int32_t> start_{0};
  std::vector<std::int32_t> items_;
};

struct Program {
  std::int32_t op_count = 0;
  std::int32_t buffer_count = 0;
  OpId first_op = 0;  // the first op that has not run yet

  Lists reads;    // op -> what must be resident and current while it runs: reads and updates, each once
  Lists updates;  // op -> buffers
  Lists writes;   // op -> buffers
  Lists users;    // buffer -> ops that read or update it, ascending
  std::vector<std::vector<std::pair<BufferId, BufferId>>> overwrites;  // op -> pairs that may be used

  std::vector<std::int64_t> bytes;    // of a buffer
  std::vector<std::int64_t> scratch;  // of an op
  std::vector<double> cost;           // of an op
  std::vector<OpId> producer;         // -1 for inputs
  std::vector<char> pinned;
  std::vector<char> kept;
  std::vector<char> at_start;  // resident when planning starts
  // Op q may run again just before op t only where q < t <= rerun_until[q]; an end of op_count allows it until the end.
  std::vector<OpId> rerun_until;

  std::int64_t pinned_bytes = 0;
  std::int64_t start_bytes = 0;  // resident when planning starts, read or not
  double base_cost = 0;          // of the ops that are still to run
};

// Throws Error naming the op or buffer that breaks a rule.
Program compile(const Graph& graph, const std::optional<Start>& start = {});

Step run_step(OpId op);
Step drop_step(BufferId buffer);
Step move_step(BufferId buffer, std::int64_t offset);

std::string describe_op(const Graph& graph, OpId op);
std::string describe_buffer(const Graph& graph, BufferId buffer);

}  // namespace tidemark::scheduler
