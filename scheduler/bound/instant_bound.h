// What an instant costs at least when every rerun brings along the reruns and bytes that it needs: the bound of an
// instant.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/bound/minimum_cut.h"
#include "scheduler/program.h"

namespace tidemark::scheduler {

// While op `instant` runs, each buffer that a later op reads is resident or is computed again afterwards, and the same
// holds for each buffer that such a rerun reads. At a given price of a byte, the cheapest choice is a minimum cut.
class InstantBound {
 public:
  InstantBound(const Program& program, OpId instant) : InstantBound(program, instant, program.op_count, {}) {}
  // Only of what happens before op `until` runs. Of `wanted`, each may be available by then too.
  InstantBound(const Program& program, OpId instant, OpId until, std::span<const BufferId> wanted);

  struct Choice {
    double price = 0;
    double value = 0;          // cost + price * bytes that stay, rounded down: no choice has less
    double cost = 0;           // of the reruns, what is charged for what stays, and for what is wanted and not there
    std::int64_t bytes = 0;    // of what stays beyond needed()
    std::vector<char> stays;   // by buffer: resident at the instant though the op does not touch it
    std::vector<char> reruns;  // by op
    std::vector<char> lacks;   // by buffer: wanted, and not there
  };
  // Charges by buffer from now on: for staying, and for being wanted and not there. None is below 0.
  void charge(std::span<const double> stays, std::span<const double> lacks);
  // What a choice may let stay, and what of `wanted` it may lack.
  std::vector<BufferId> may_stay() const;
  std::vector<BufferId> may_lack() const;
  // Bytes that any plan holds at the instant, and those that a later op reads and that may be left out.
  std::int64_t needed() const { return needed_; }
  std::int64_t optional() const { return optional_; }
  Choice choose(double price);
  // Choices from now on are those in which the op does, or does not, run again.
  enum class Side : std::int8_t { kFree, kReruns, kStays };
  void force(OpId op, Side side) { forced_[static_cast<std::size_t>(node_[op])] = side; }
  // Up to here a price weighs every byte in full.
  double highest_price() const;
  // Of what a later op reads and the op would write again.
  std::int64_t bytes_of(OpId op) const { return bytes_of_[static_cast<std::size_t>(op)]; }
  // No plan within the budget costs less. Where it is not 0, `fitting` becomes the cheapest choice seen that fits.
  double bound(std::int64_t budget, Choice* fitting = nullptr);
  std::int64_t work() const { return network_.work(); }

 private:
  class Finder;
  // A buffer that may stay: its bytes, times the price, bound what flows towards its producer.
  struct Member {
    BufferId buffer;
    OpId producer;              // -1 where it cannot be computed again
    bool required;              // a later first run reads it
    bool wanted;                // and not required
    std::int32_t arc;           // whose capacity that is; -1 where it is part of a node's source or sink
    std::int32_t node;          // whose
    std::vector<OpId> readers;  // reruns that would read it
    double charge_stays = 0;
    double charge_lacks = 0;
  };

  std::int64_t capacity(double cost) const;
  void build();

  const Program& program_;
  const OpId instant_;
  const OpId until_;
  FlowNetwork network_;
  std::vector<std::int32_t> node_;  // of an op; -1 outside the network
  std::vector<OpId> ops_;           // their nodes are the first
  std::vector<Side> forced_;        // by node
  std::vector<Member> members_;
  std::vector<std::int64_t> bytes_of_;  // by op
  std::int64_t needed_ = 0;
  std::int64_t optional_ = 0;
  double total_ = 0;  // cost of all ops that may run again
  double scale_ = 1;  // of costs, to whole numbers
  std::int64_t cap_ = 0;
  std::vector<std::int64_t> sink_;
};

}  // namespace tidemark::scheduler
