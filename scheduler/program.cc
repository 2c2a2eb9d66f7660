#include "scheduler/program.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/printable.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {
namespace {

// Sums of sizes stay exact in a double and far from overflow.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 52;
constexpr double kMostCost = 1e100;

[[noreturn]] void fail(const std::string& what) { throw Error("graph: " + what); }

class Compiler {
 public:
  Compiler(const Graph& graph, const std::optional<Start>& start) : graph_(graph), start_(start) {}

  Program run() {
    buffers();
    for (OpId op = 0; op < program_.op_count; ++op) wire(op);
    for (BufferId b : graph_.keep) {
      check_id(b, "keep");
      program_.kept[b] = 1;
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (program_.pinned[b] && program_.producer[b] >= 0) {
        fail(describe_buffer(graph_, b) + " is pinned but written by " + describe_op(graph_, program_.producer[b]) +
             ": only inputs may be pinned");
      }
      program_.users.append(users_[b]);
    }
    residents();
    rerun_limits();
    return std::move(program_);
  }

 private:
  void check_id(BufferId b, const std::string& where) const {
    if (b < 0 || b >= program_.buffer_count) {
      fail(where + " names buffer " + std::to_string(b) + " of " + std::to_string(program_.buffer_count));
    }
  }

  void buffers() {
    program_.op_count = static_cast<OpId>(graph_.ops.size());
    program_.buffer_count = static_cast<BufferId>(graph_.buffers.size());
    const auto count = graph_.buffers.size();
    program_.producer.assign(count, -1);
    program_.kept.assign(count, 0);
    users_.resize(count);
    mark_.assign(count, -1);
    std::int64_t total = 0;
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      const Buffer& buffer = graph_.buffers[b];
      if (buffer.bytes < 0) fail(describe_buffer(graph_, b) + " has negative bytes");
      if (buffer.bytes > kMostBytes || (total += buffer.bytes) > kMostBytes) {
        fail(describe_buffer(graph_, b) + " brings the sum of all bytes above 2^52");
      }
      program_.bytes.push_back(buffer.bytes);
      program_.pinned.push_back(buffer.pinned ? 1 : 0);
      if (buffer.pinned) program_.pinned_bytes += buffer.bytes;
    }
    for (OpId op = 0; op < program_.op_count; ++op) {
      for (BufferId b : graph_.ops[op].writes) {
        check_id(b, describe_op(graph_, op));
        if (program_.producer[b] >= 0) {
          fail(describe_buffer(graph_, b) + " is written by " + describe_op(graph_, program_.producer[b]) + " and by " +
               describe_op(graph_, op));
        }
        program_.producer[b] = op;
      }
    }
  }

  void wire(OpId id) {
    const Op& op = graph_.ops[id];
    const auto name = [&] { return describe_op(graph_, id); };
    if (!std::isfinite(op.cost) || op.cost < 0) fail(name() + " has a cost that is negative or not finite");
    total_cost_ += op.cost;
    if (total_cost_ > kMostCost) fail(name() + " brings the sum of all costs above 1e100");
    if (op.scratch < 0 || op.scratch > kMostBytes) fail(name() + " has scratch bytes out of range");
    std::vector<BufferId> reads;
    const auto read = [&](BufferId b) {
      check_id(b, name());
      if (program_.producer[b] >= id) {
        fail(name() + " reads " + describe_buffer(graph_, b) + " before " + describe_op(graph_, program_.producer[b]) +
             " writes it");
      }
      if (mark_[b] == id) return;
      mark_[b] = id;
      reads.push_back(b);
      users_[b].push_back(id);
    };
    for (BufferId b : op.reads) read(b);
    for (BufferId b : op.updates) read(b);
    std::vector<BufferId> updates = op.updates;
    std::sort(updates.begin(), updates.end());
    updates.erase(std::unique(updates.begin(), updates.end()), updates.end());
    if (op.releases) {
      for (BufferId b : *op.releases) check_id(b, name() + ", releases,");
    }
    std::vector<std::pair<BufferId, BufferId>> pairs;
    for (const auto& [r, w] : op.overwrites) {
      check_id(r, name() + ", overwrites,");
      check_id(w, name() + ", overwrites,");
      if (std::find(op.reads.begin(), op.reads.end(), r) == op.reads.end() || program_.producer[w] != id) {
        fail(name() + " overwrites " + describe_buffer(graph_, r) + " with " + describe_buffer(graph_, w) +
             ", which is not a pair of what it reads and writes");
      }
      if (program_.bytes[r] < program_.bytes[w]) {
        fail(name() + " overwrites " + describe_buffer(graph_, r) + " with the larger " + describe_buffer(graph_, w));
      }
      if (!program_.pinned[r] && !std::binary_search(updates.begin(), updates.end(), r)) pairs.emplace_back(r, w);
    }
    program_.reads.append(reads);
    program_.updates.append(updates);
    program_.writes.append(op.writes);
    program_.overwrites.push_back(std::move(pairs));
    program_.scratch.push_back(op.scratch);
    program_.cost.push_back(op.cost);
  }

  void residents() {
    program_.at_start.assign(graph_.buffers.size(), 0);
    if (!start_) {
      for (BufferId b = 0; b < program_.buffer_count; ++b) program_.at_start[b] = program_.producer[b] < 0 ? 1 : 0;
    } else {
      program_.first_op = start_->next_op;
      if (program_.first_op < 0 || program_.first_op > program_.op_count) {
        fail("the start names op " + std::to_string(program_.first_op) + " of " + std::to_string(program_.op_count));
      }
      for (const Placement& place : start_->resident) {
        check_id(place.buffer, "the start");
        if (program_.producer[place.buffer] >= program_.first_op) {
          fail("the start has " + describe_buffer(graph_, place.buffer) + " resident, which is still to be written");
        }
        if (std::exchange(program_.at_start[place.buffer], 1) != 0) {
          fail("the start has " + describe_buffer(graph_, place.buffer) + " resident twice");
        }
      }
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (program_.at_start[b]) program_.start_bytes += program_.bytes[b];
      if (program_.pinned[b] && !program_.at_start[b]) {
        fail("the start lacks " + describe_buffer(graph_, b) + ", which is pinned");
      }
    }
    for (OpId op = program_.first_op; op < program_.op_count; ++op) program_.base_cost += program_.cost[op];
  }

  void rerun_limits() {
    const OpId end = program_.op_count;
    std::vector<OpId> first_update(graph_.buffers.size(), end);
    std::vector<std::vector<OpId>> updaters(graph_.buffers.size());
    for (OpId op = 0; op < end; ++op) {
      for (BufferId b : program_.updates[op]) {
        first_update[b] = std::min(first_update[b], op);
        updaters[b].push_back(op);
      }
    }
    const auto lost = [&](BufferId b) {
      const OpId producer = program_.producer[b];
      if (program_.at_start[b] || producer >= program_.first_op) return false;
      return producer < 0 || program_.rerun_until[producer] < program_.first_op;
    };
    for (OpId op = 0; op < end; ++op) {
      OpId until = end;
      if (graph_.ops[op].once || !program_.updates[op].empty()) until = -1;
      for (BufferId b : program_.writes[op]) until = std::min(until, first_update[b]);
      for (BufferId b : program_.reads[op]) {
        const auto next = std::upper_bound(updaters[b].begin(), updaters[b].end(), op);
        if (next != updaters[b].end()) until = std::min(until, *next);
        if (!lost(b)) continue;
        until = -1;
        if (op >= program_.first_op) {
          fail(describe_op(graph_, op) + " reads " + describe_buffer(graph_, b) +
               ", which is not resident at the start and cannot be computed again");
        }
      }
      program_.rerun_until.push_back(until);
    }
    for (BufferId b : graph_.keep) {
      if (lost(b)) fail(describe_buffer(graph_, b) + " is to be kept but is not resident and cannot be computed again");
    }
  }

  const Graph& graph_;
  const std::optional<Start>& start_;
  Program program_;
  std::vector<std::vector<OpId>> users_;
  std::vector<OpId> mark_;  // buffer -> last op seen to read it
  double total_cost_ = 0;
};

std::string describe(const char* kind, std::int32_t id, const std::string& name) {
  std::string text = kind;
  text.append(" ").append(std::to_string(id));
  if (!name.empty()) text.append(" (").append(core::printable_name(name)).append(")");
  return text;
}

}  // namespace

Step run_step(OpId op) {
  Step step;
  step.id = op;
  return step;
}

Step drop_step(BufferId buffer) {
  Step step;
  step.kind = Step::Kind::kDrop;
  step.id = buffer;
  return step;
}

Step move_step(BufferId buffer, std::int64_t offset) {
  Step step;
  step.kind = Step::Kind::kMove;
  step.id = buffer;
  step.offset = offset;
  return step;
}

std::string describe_op(const Graph& graph, OpId op) {
  return describe("op", op, op >= 0 && op < static_cast<OpId>(graph.ops.size()) ? graph.ops[op].name : "");
}

std::string describe_buffer(const Graph& graph, BufferId buffer) {
  const bool known = buffer >= 0 && buffer < static_cast<BufferId>(graph.buffers.size());
  return describe("buffer", buffer, known ? graph.buffers[buffer].name : "");
}

Program compile(const Graph& graph, const std::optional<Start>& start) { return Compiler(graph, start).run(); }

}  // namespace tidemark::scheduler
