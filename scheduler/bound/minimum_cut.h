// Minimum cut of a small directed network, by pushing preflow from the highest label.
#pragma once

#include <cstdint>
#include <vector>

namespace tidemark::scheduler {

class FlowNetwork {
 public:
  static constexpr std::int64_t kInfinite = std::int64_t{1} << 60;

  std::int32_t add_node() {
    source_.push_back(0);
    sink_.push_back(0);
    return static_cast<std::int32_t>(source_.size()) - 1;
  }
  std::int32_t add_arc(std::int32_t from, std::int32_t to, std::int64_t capacity) {
    arcs_.push_back({from, to, capacity});
    return static_cast<std::int32_t>(arcs_.size()) - 1;
  }
  // What flows in from the source is finite; its sum is below kInfinite.
  void set_source(std::int32_t node, std::int64_t capacity) { source_[static_cast<std::size_t>(node)] = capacity; }
  void set_sink(std::int32_t node, std::int64_t capacity) { sink_[static_cast<std::size_t>(node)] = capacity; }
  void set_capacity(std::int32_t arc, std::int64_t capacity) {
    arcs_[static_cast<std::size_t>(arc)].capacity = capacity;
  }

  // Finds a minimum cut and gives its value. Nodes from which the sink can no longer be reached are its source side.
  std::int64_t cut();
  bool on_source_side(std::int32_t node) const { return height_[static_cast<std::size_t>(node)] >= out_; }
  // Arcs looked at, so that callers can bound their work.
  std::int64_t work() const { return work_; }

 private:
  struct Arc {
    std::int32_t from;
    std::int32_t to;
    std::int64_t capacity;
  };
  struct Half {
    std::int32_t to;
    std::int32_t twin;
    std::int64_t residual;
  };

  void build();
  void relabel_all();
  void activate(std::int32_t node);
  void discharge(std::int32_t node);

  std::vector<Arc> arcs_;
  std::vector<std::int64_t> source_;
  std::vector<std::int64_t> sink_;
  std::int32_t size_ = 0;
  std::int32_t out_ = 0;  // height of nodes that cannot reach the sink; the longest way has size_ arcs

  std::vector<std::int32_t> first_;  // node -> its halves
  std::vector<Half> halves_;
  std::vector<std::int32_t> position_;  // arc -> its forward half
  std::vector<std::int32_t> current_;
  std::vector<std::int32_t> height_;
  std::vector<std::int64_t> excess_;
  std::vector<std::int64_t> to_sink_;
  std::vector<std::vector<std::int32_t>> active_;  // by height
  std::vector<std::int32_t> count_;                // nodes of a height below out_
  std::int32_t highest_ = 0;
  std::int64_t arrived_ = 0;
  std::int64_t relabels_ = 0;
  std::int64_t work_ = 0;
};

}  // namespace tidemark::scheduler
