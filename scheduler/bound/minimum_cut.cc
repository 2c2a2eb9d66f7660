#include "scheduler/bound/minimum_cut.h"

#include <algorithm>

namespace tidemark::scheduler {

void FlowNetwork::build() {
  const std::size_t n = source_.size();
  if (first_.size() != n + 1 || halves_.size() != 2 * arcs_.size()) {
    size_ = static_cast<std::int32_t>(n);
    out_ = size_ + 1;
    first_.assign(n + 1, 0);
    for (const Arc& arc : arcs_) {
      ++first_[static_cast<std::size_t>(arc.from) + 1];
      ++first_[static_cast<std::size_t>(arc.to) + 1];
    }
    for (std::size_t i = 0; i < n; ++i) first_[i + 1] += first_[i];
    std::vector<std::int32_t> fill(first_.begin(), first_.end() - 1);
    halves_.resize(2 * arcs_.size());
    position_.resize(arcs_.size());
    for (std::size_t i = 0; i < arcs_.size(); ++i) {
      const std::int32_t forward = fill[static_cast<std::size_t>(arcs_[i].from)]++;
      const std::int32_t backward = fill[static_cast<std::size_t>(arcs_[i].to)]++;
      halves_[static_cast<std::size_t>(forward)] = {arcs_[i].to, backward, 0};
      halves_[static_cast<std::size_t>(backward)] = {arcs_[i].from, forward, 0};
      position_[i] = forward;
    }
  }
  for (std::size_t i = 0; i < arcs_.size(); ++i) {
    Half& forward = halves_[static_cast<std::size_t>(position_[i])];
    forward.residual = arcs_[i].capacity;
    halves_[static_cast<std::size_t>(forward.twin)].residual = 0;
  }
  excess_ = source_;
  to_sink_ = sink_;
  arrived_ = 0;
}

// Heights become distances to the sink; out_ where it cannot be reached.
void FlowNetwork::relabel_all() {
  const auto n = static_cast<std::size_t>(size_);
  height_.assign(n, out_);
  current_.assign(first_.begin(), first_.end() - 1);
  count_.assign(n + 2, 0);
  active_.resize(n + 2);
  for (auto& list : active_) list.clear();
  highest_ = 0;
  std::vector<std::int32_t> queue;
  for (std::int32_t v = 0; v < size_; ++v) {
    if (to_sink_[static_cast<std::size_t>(v)] <= 0) continue;
    height_[static_cast<std::size_t>(v)] = 1;
    queue.push_back(v);
  }
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const auto v = static_cast<std::size_t>(queue[i]);
    for (std::int32_t h = first_[v]; h < first_[v + 1]; ++h) {
      const Half& half = halves_[static_cast<std::size_t>(h)];
      const auto u = static_cast<std::size_t>(half.to);
      if (height_[u] < out_ || halves_[static_cast<std::size_t>(half.twin)].residual <= 0) continue;
      height_[u] = height_[v] + 1;
      queue.push_back(half.to);
    }
  }
  for (std::int32_t v : queue) {
    ++count_[static_cast<std::size_t>(height_[static_cast<std::size_t>(v)])];
    if (excess_[static_cast<std::size_t>(v)] > 0) activate(v);
  }
  relabels_ = 0;
  work_ += size_ + static_cast<std::int64_t>(halves_.size());
}

void FlowNetwork::activate(std::int32_t node) {
  const std::int32_t height = height_[static_cast<std::size_t>(node)];
  if (height >= out_) return;
  active_[static_cast<std::size_t>(height)].push_back(node);
  highest_ = std::max(highest_, height);
}

void FlowNetwork::discharge(std::int32_t node) {
  const auto v = static_cast<std::size_t>(node);
  while (excess_[v] > 0 && height_[v] < out_) {
    if (height_[v] == 1 && to_sink_[v] > 0) {
      const std::int64_t moved = std::min(excess_[v], to_sink_[v]);
      to_sink_[v] -= moved;
      excess_[v] -= moved;
      arrived_ += moved;
      if (excess_[v] == 0) break;
    }
    while (current_[v] < first_[v + 1]) {
      Half& half = halves_[static_cast<std::size_t>(current_[v])];
      const auto u = static_cast<std::size_t>(half.to);
      if (half.residual > 0 && height_[u] + 1 == height_[v]) {
        const std::int64_t moved = std::min(excess_[v], half.residual);
        half.residual -= moved;
        halves_[static_cast<std::size_t>(half.twin)].residual += moved;
        const bool idle = excess_[u] == 0;
        excess_[u] += moved;
        excess_[v] -= moved;
        if (idle) activate(half.to);
        if (excess_[v] == 0) return;
      }
      ++current_[v];
      ++work_;
    }
    // Nowhere lower to push to: one above the lowest neighbour, or out where its height would leave a gap below.
    const std::int32_t before = height_[v];
    std::int32_t lowest = to_sink_[v] > 0 ? 0 : out_;
    for (std::int32_t h = first_[v]; h < first_[v + 1]; ++h) {
      const Half& half = halves_[static_cast<std::size_t>(h)];
      if (half.residual > 0) lowest = std::min(lowest, height_[static_cast<std::size_t>(half.to)]);
    }
    work_ += first_[v + 1] - first_[v];
    ++relabels_;
    current_[v] = first_[v];
    const bool gap = --count_[static_cast<std::size_t>(before)] == 0;
    if (gap) {
      for (std::size_t u = 0; u < height_.size(); ++u) {
        if (height_[u] < before || height_[u] >= out_) continue;
        if (u != v) --count_[static_cast<std::size_t>(height_[u])];
        height_[u] = out_;
      }
      work_ += size_;
      return;
    }
    height_[v] = std::min(lowest + 1, out_);
    if (height_[v] < out_) ++count_[static_cast<std::size_t>(height_[v])];
  }
}

std::int64_t FlowNetwork::cut() {
  build();
  relabel_all();
  while (true) {
    while (highest_ > 0 && active_[static_cast<std::size_t>(highest_)].empty()) --highest_;
    if (highest_ == 0) break;
    auto& list = active_[static_cast<std::size_t>(highest_)];
    const std::int32_t node = list.back();
    list.pop_back();
    // A node that a gap has put out of reach is left where it was listed.
    if (height_[static_cast<std::size_t>(node)] != highest_) continue;
    discharge(node);
    if (relabels_ > size_) relabel_all();
  }
  relabel_all();
  return arrived_;
}

}  // namespace tidemark::scheduler
