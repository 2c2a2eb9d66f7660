#include "bench/dtr.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "scheduler/program.h"

namespace tidemark::bench {
namespace {

using scheduler::BufferId;
using scheduler::Graph;
using scheduler::OpId;
using scheduler::Program;

class Dtr {
 public:
  Dtr(const Graph& graph, std::int64_t budget, double most)
      : graph_(graph), program_(scheduler::compile(graph)), budget_(budget), most_(most * program_.base_cost) {
    tensors_.resize(graph.buffers.size());
    sets_.resize(graph.buffers.size());
    seen_.assign(graph.buffers.size(), 0);
    lost_.assign(graph.ops.size(), 0);
    last_chance_.resize(graph.ops.size() + 1);
    for (OpId op = 0; op < program_.op_count; ++op) {
      const OpId until = program_.rerun_until[op];
      if (until < 0) {
        lost_[op] = 1;
      } else if (until < program_.op_count) {
        last_chance_[until].push_back(op);
      }
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) sets_[b] = {b, 0};
  }

  std::optional<double> run() {
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (!program_.at_start[b]) continue;
      tensors_[b].resident = true;
      live_ += program_.bytes[b];
    }
    if (live_ > budget_) return std::nullopt;
    for (now_ = 0; now_ < program_.op_count; ++now_) {
      if (!prepare_update() || !execute(now_)) return std::nullopt;
      for (OpId op : last_chance_[now_]) lose(op);
      if (graph_.ops[now_].releases) {
        for (BufferId b : *graph_.ops[now_].releases) release(b);
        continue;
      }
      for (const auto list : {program_.reads[now_], program_.writes[now_]}) {
        for (BufferId b : list) {
          const auto users = program_.users[b];
          if ((users.empty() ? program_.producer[b] : users.back()) <= now_ && !program_.kept[b]) release(b);
        }
      }
    }
    for (BufferId b : graph_.keep) {
      ++tensors_[b].locks;
      if (!bring(b)) return std::nullopt;
    }
    return clock_;
  }

 private:
  struct Tensor {
    bool resident = false;
    bool released = false;
    int locks = 0;
    double touched = 0;
    bool evicted = false;  // has been resident, and is not
  };
  struct Set {
    BufferId parent;
    double cost;
  };

  BufferId find(BufferId b) {
    while (sets_[b].parent != b) b = sets_[b].parent = sets_[sets_[b].parent].parent;
    return b;
  }

  bool again(BufferId b) const {
    const OpId producer = program_.producer[b];
    return producer >= 0 && producer < now_ && lost_[producer] == 0;
  }

  // Evicted tensors that the program still holds and that are computed from `b` through evicted ones.
  void held_below(BufferId b, std::vector<BufferId>& held) {
    for (OpId user : program_.users[b]) {
      if (user >= now_) break;
      for (BufferId c : program_.writes[user]) {
        if (!tensors_[c].evicted || seen_[c] == visit_) continue;
        seen_[c] = visit_;
        if (!tensors_[c].released) held.push_back(c);
        held_below(c, held);
      }
    }
  }

  // Updates in place are not part of DTR: before one makes an op impossible to run again, what is evicted and depends
  // on that op is brought back.
  bool prepare_update() {
    std::vector<BufferId> held;
    ++visit_;
    for (OpId op : last_chance_[now_]) {
      for (BufferId b : program_.writes[op]) {
        if (!tensors_[b].evicted || seen_[b] == visit_) continue;
        seen_[b] = visit_;
        if (!tensors_[b].released) held.push_back(b);
        held_below(b, held);
      }
    }
    std::sort(held.begin(), held.end());
    return std::all_of(held.begin(), held.end(), [&](BufferId b) { return bring(b); });
  }

  void lose(OpId op) {
    if (lost_[op] != 0 && program_.rerun_until[op] >= 0) return;
    lost_[op] = 1;
    for (BufferId b : program_.writes[op]) {
      if (!tensors_[b].resident) gone(b);
    }
  }
  void gone(BufferId b) {
    for (OpId user : program_.users[b]) {
      if (user < now_ && lost_[user] == 0) lose(user);
    }
  }

  template <typename Visit>
  void evicted_neighbours(BufferId b, Visit visit) {
    for (BufferId a : program_.reads[program_.producer[b]]) {
      if (tensors_[a].evicted) visit(a);
    }
    for (OpId user : program_.users[b]) {
      if (user >= now_) break;
      for (BufferId c : program_.writes[user]) {
        if (tensors_[c].evicted) visit(c);
      }
    }
  }

  double score(BufferId b) {
    double cost = program_.cost[program_.producer[b]];
    roots_.clear();
    evicted_neighbours(b, [&](BufferId n) {
      const BufferId root = find(n);
      if (std::find(roots_.begin(), roots_.end(), root) != roots_.end()) return;
      roots_.push_back(root);
      cost += sets_[root].cost;
    });
    const double staleness = std::max(clock_ - tensors_[b].touched, 1e-9 * program_.base_cost);
    return cost / (static_cast<double>(program_.bytes[b]) * staleness);
  }

  void evict(BufferId b) {
    Tensor& tensor = tensors_[b];
    tensor.resident = false;
    tensor.evicted = true;
    live_ -= program_.bytes[b];
    sets_[b] = {b, program_.cost[program_.producer[b]]};
    evicted_neighbours(b, [&](BufferId n) {
      const BufferId a = find(b);
      const BufferId c = find(n);
      if (a == c) return;
      sets_[c].parent = a;
      sets_[a].cost += sets_[c].cost;
    });
  }

  void release(BufferId b) {
    Tensor& tensor = tensors_[b];
    tensor.released = true;
    if (!tensor.resident || tensor.locks > 0 || program_.pinned[b]) return;
    const OpId producer = program_.producer[b];
    if (producer >= 0 && lost_[producer] == 0) {
      evict(b);
      return;
    }
    std::vector<BufferId> held;
    ++visit_;
    held_below(b, held);
    if (!held.empty()) return;
    tensor.resident = false;
    live_ -= program_.bytes[b];
    gone(b);
  }

  bool make_room(std::int64_t bytes) {
    while (live_ + bytes > budget_) {
      BufferId victim = -1;
      double least = std::numeric_limits<double>::infinity();
      for (BufferId b = 0; b < program_.buffer_count; ++b) {
        const Tensor& tensor = tensors_[b];
        if (!tensor.resident || tensor.locks > 0 || program_.pinned[b] || program_.bytes[b] == 0 || !again(b)) continue;
        const double s = score(b);
        if (s >= least) continue;
        least = s;
        victim = b;
      }
      if (victim < 0) return false;
      evict(victim);
    }
    return true;
  }

  bool bring(BufferId b) {
    if (tensors_[b].resident) return true;
    return again(b) && execute(program_.producer[b]);
  }

  bool execute(OpId op) {
    const auto reads = program_.reads[op];
    for (BufferId b : reads) ++tensors_[b].locks;
    bool done = std::all_of(reads.begin(), reads.end(), [&](BufferId b) { return bring(b); });
    std::int64_t bytes = program_.scratch[op];
    for (BufferId b : program_.writes[op]) {
      ++tensors_[b].locks;
      if (!tensors_[b].resident) bytes += program_.bytes[b];
    }
    done = done && make_room(bytes) && clock_ <= most_;
    if (done) {
      clock_ += program_.cost[op];
      for (BufferId b : reads) tensors_[b].touched = clock_;
      for (BufferId b : program_.writes[op]) settle(b);
    }
    for (const auto list : {reads, program_.writes[op]}) {
      for (BufferId b : list) {
        if (--tensors_[b].locks == 0 && tensors_[b].released) release(b);
      }
    }
    return done;
  }

  void settle(BufferId b) {
    Tensor& tensor = tensors_[b];
    tensor.touched = clock_;
    if (tensor.resident) return;
    if (tensor.evicted) sets_[find(b)].cost -= program_.cost[program_.producer[b]];
    tensor.resident = true;
    tensor.evicted = false;
    live_ += program_.bytes[b];
  }

  const Graph& graph_;
  const Program program_;
  const std::int64_t budget_;
  const double most_;
  std::vector<Tensor> tensors_;
  std::vector<Set> sets_;
  std::vector<char> lost_;                      // ops that cannot run again
  std::vector<std::vector<OpId>> last_chance_;  // by op: those that cannot once it has run
  std::vector<BufferId> roots_;
  std::vector<std::int32_t> seen_;  // last visit of a buffer
  std::int32_t visit_ = 0;
  std::int64_t live_ = 0;
  double clock_ = 0;
  OpId now_ = 0;
};

}  // namespace

std::optional<double> dtr_cost(const Graph& graph, std::int64_t budget, double most) {
  return Dtr(graph, budget, most).run();
}

}  // namespace tidemark::bench
