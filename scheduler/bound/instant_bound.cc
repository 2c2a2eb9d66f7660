#include "scheduler/bound/instant_bound.h"

#include <algorithm>

#include "scheduler/bound/lower_bound.h"

namespace tidemark::scheduler {
namespace {

constexpr double kWhole = 0x1p40;  // the sum of all costs as a whole number
constexpr int kMostPrices = 14;
constexpr double kMostFlow = 0x1p57;
constexpr double kLeastCost = 0x1p-900;  // costs below it count as nothing: their scale would be infinite

}  // namespace

// Which buffers may stay while the op runs, and which ops may run again for them.
class InstantBound::Finder {
 public:
  Finder(InstantBound& bound, std::span<const BufferId> wanted)
      : bound_(bound), program_(bound.program_), instant_(bound.instant_), wanted_(wanted) {
    there_.assign(static_cast<std::size_t>(program_.buffer_count), 0);
    member_.assign(static_cast<std::size_t>(program_.buffer_count), -1);
    again_.assign(static_cast<std::size_t>(program_.op_count), 0);
  }

  void find() {
    bound_.needed_ = program_.pinned_bytes + program_.scratch[instant_] - most_in_place(program_, instant_);
    for (const auto list : {program_.reads[instant_], program_.writes[instant_]}) {
      for (BufferId b : list) {
        if (!there_[b] && !program_.pinned[b]) need(b);
      }
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (written_before(b) && read_later(b)) read_by_first_runs(b);
    }
    for (BufferId b : wanted_) {
      if (written_before(b) && member_[b] < 0) add(b, false, true);
    }
    // What reruns read may have to be computed again in turn, by ops before them.
    for (OpId op = instant_; op-- > 0;) {
      if (again_[op]) add_rerun(op);
    }
    bound_.bytes_of_.assign(static_cast<std::size_t>(program_.op_count), 0);
    for (const Member& m : bound_.members_) {
      if ((m.required || m.wanted) && m.producer >= 0) bound_.bytes_of_[m.producer] += program_.bytes[m.buffer];
    }
  }

 private:
  bool may_run_again(OpId op) const { return op >= 0 && program_.rerun_until[op] > instant_; }

  bool written_before(BufferId b) const { return !program_.pinned[b] && !there_[b] && program_.producer[b] < instant_; }

  bool read_later(BufferId b) const {
    const auto users = program_.users[b];
    return program_.kept[b] || (!users.empty() && users.back() > instant_);
  }

  // In every plan it is there.
  void need(BufferId b) {
    there_[b] = 1;
    bound_.needed_ += program_.bytes[b];
  }

  void read_by_first_runs(BufferId b) {
    if (!may_run_again(program_.producer[b])) {
      need(b);
      return;
    }
    const auto users = program_.users[b];
    const auto next = std::upper_bound(users.begin(), users.end(), instant_);
    if (bound_.until_ < program_.op_count && (next == users.end() || *next > bound_.until_)) return;
    bound_.optional_ += program_.bytes[b];
    add(b, true, false);
  }

  void add(BufferId b, bool required, bool wanted) {
    const OpId producer = may_run_again(program_.producer[b]) ? program_.producer[b] : -1;
    member_[b] = static_cast<std::int32_t>(bound_.members_.size());
    bound_.members_.push_back({b, producer, required, wanted, -1, -1, {}});
    if (producer >= 0) again_[producer] = 1;
  }

  void add_rerun(OpId op) {
    bound_.node_[op] = bound_.network_.add_node();
    bound_.ops_.push_back(op);
    for (BufferId b : program_.reads[op]) {
      if (program_.pinned[b] || there_[b]) continue;
      if (member_[b] < 0) add(b, false, false);
      Member& m = bound_.members_[static_cast<std::size_t>(member_[b])];
      if (!m.required) m.readers.push_back(op);
    }
  }

  InstantBound& bound_;
  const Program& program_;
  const OpId instant_;
  const std::span<const BufferId> wanted_;
  std::vector<char> there_;
  std::vector<std::int32_t> member_;  // buffer -> its member, or -1
  std::vector<char> again_;           // op -> may run again for a member
};

InstantBound::InstantBound(const Program& program, OpId instant, OpId until, std::span<const BufferId> wanted)
    : program_(program), instant_(instant), until_(until) {
  node_.assign(static_cast<std::size_t>(program.op_count), -1);
  Finder(*this, wanted).find();
  build();
}

void InstantBound::build() {
  forced_.assign(ops_.size(), Side::kFree);
  for (OpId op : ops_) total_ += program_.cost[op];
  scale_ = total_ > kLeastCost ? kWhole / total_ : 1;
  // The higher the more prices are told apart; what flows in all stays below the network's infinity.
  cap_ = static_cast<std::int64_t>(std::max(kWhole, kMostFlow / static_cast<double>(members_.size() + 1))) + 1;
  for (OpId op : ops_) sink_.push_back(static_cast<std::int64_t>(program_.cost[op] * scale_));
  for (Member& m : members_) {
    if (m.required) {
      m.node = node_[m.producer];
      continue;
    }
    if (m.readers.size() == 1 && !m.wanted) {
      m.node = node_[m.readers[0]];
    } else {
      m.node = network_.add_node();
      for (OpId reader : m.readers) network_.add_arc(node_[reader], m.node, FlowNetwork::kInfinite);
    }
    if (m.producer >= 0) m.arc = network_.add_arc(m.node, node_[m.producer], 0);
  }
}

std::int64_t InstantBound::capacity(double cost) const {
  const double exact = cost * scale_;
  return exact < static_cast<double>(cap_) ? static_cast<std::int64_t>(exact) : cap_;
}

void InstantBound::charge(std::span<const double> stays, std::span<const double> lacks) {
  for (Member& m : members_) {
    m.charge_stays = stays.empty() ? 0 : stays[static_cast<std::size_t>(m.buffer)];
    m.charge_lacks = lacks.empty() || !m.wanted ? 0 : lacks[static_cast<std::size_t>(m.buffer)];
  }
}

std::vector<BufferId> InstantBound::may_stay() const {
  std::vector<BufferId> buffers;
  for (const Member& m : members_) buffers.push_back(m.buffer);
  return buffers;
}

std::vector<BufferId> InstantBound::may_lack() const {
  std::vector<BufferId> buffers;
  for (const Member& m : members_) {
    if (m.wanted) buffers.push_back(m.buffer);
  }
  return buffers;
}

InstantBound::Choice InstantBound::choose(double price) {
  const std::size_t ops = ops_.size();
  std::vector<std::int64_t> source(ops, 0);
  std::vector<std::int64_t> sink = sink_;
  // What could flow in and out of an op at most: one more than that forces it to a side.
  std::vector<std::int64_t> in(ops, 1);
  std::vector<std::int64_t> out(ops, 1);
  for (const Member& m : members_) {
    const std::int64_t stays = capacity(price * static_cast<double>(program_.bytes[m.buffer]) + m.charge_stays);
    if (m.wanted) network_.set_source(m.node, capacity(m.charge_lacks));
    if (m.required) {
      source[static_cast<std::size_t>(m.node)] += stays;
    } else if (m.arc >= 0) {
      network_.set_capacity(m.arc, stays);
      in[static_cast<std::size_t>(node_[m.producer])] += stays;
    } else if (static_cast<std::size_t>(m.node) < ops) {
      sink[static_cast<std::size_t>(m.node)] += stays;
    } else {
      network_.set_sink(m.node, stays);
    }
    for (OpId reader : m.readers) out[static_cast<std::size_t>(node_[reader])] += stays;
  }
  for (std::size_t i = 0; i < ops; ++i) {
    if (forced_[i] == Side::kReruns) source[i] += out[i] + sink[i];
    if (forced_[i] == Side::kStays) sink[i] += in[i] + source[i];
    network_.set_source(static_cast<std::int32_t>(i), source[i]);
    network_.set_sink(static_cast<std::int32_t>(i), sink[i]);
  }
  Choice choice;
  choice.price = price;
  choice.value = static_cast<double>(network_.cut()) / scale_;
  choice.stays.assign(static_cast<std::size_t>(program_.buffer_count), 0);
  choice.reruns.assign(static_cast<std::size_t>(program_.op_count), 0);
  choice.lacks.assign(static_cast<std::size_t>(program_.buffer_count), 0);
  for (OpId op : ops_) {
    if (!network_.on_source_side(node_[op])) continue;
    choice.reruns[op] = 1;
    choice.cost += program_.cost[op];
  }
  for (const Member& m : members_) {
    const auto runs = [&](OpId op) { return choice.reruns[op] != 0; };
    if (m.producer >= 0 && runs(m.producer)) continue;
    if (m.wanted && !network_.on_source_side(m.node)) {
      choice.lacks[m.buffer] = 1;
      choice.cost += m.charge_lacks;
      continue;
    }
    if (!m.required && !m.wanted && std::none_of(m.readers.begin(), m.readers.end(), runs)) continue;
    choice.stays[m.buffer] = 1;
    choice.cost += m.charge_stays;
    choice.bytes += program_.bytes[m.buffer];
  }
  return choice;
}

double InstantBound::highest_price() const {
  std::int64_t most = 1;
  for (const Member& m : members_) most = std::max(most, program_.bytes[m.buffer]);
  return static_cast<double>(cap_) / (scale_ * static_cast<double>(most));
}

double InstantBound::bound(std::int64_t budget, Choice* fitting) {
  const auto room = static_cast<double>(budget - needed_);
  const auto most = static_cast<double>(optional_);
  if (most <= room) return 0;
  // g(price) = value - price * room is concave and a bound everywhere. Tangents at prices with a rising g (left) and a
  // falling one (right) meet above its maximum; there the next price is tried.
  struct Tangent {
    double at, slope;  // g <= at + slope * price
  };
  Tangent left{0, most - room};
  double best = 0;
  bool fits = false;
  const auto note = [&](const Choice& choice) {
    best = std::max(best, choice.value - choice.price * room);
    const bool fit = static_cast<double>(choice.bytes) <= room;
    if (fit && fitting != nullptr && (!fits || choice.cost < fitting->cost)) *fitting = choice;
    fits = fits || fit;
    return Tangent{choice.cost, static_cast<double>(choice.bytes) - room};
  };
  Tangent right = note(choose(total_ + 1));
  if (right.slope >= 0) return best;
  for (int i = 0; i < kMostPrices; ++i) {
    const double price = (right.at - left.at) / (left.slope - right.slope);
    const double top = left.at + left.slope * price;
    if (price <= 0 || top <= best * (1 + 1e-6)) break;
    const Tangent next = note(choose(price));
    (next.slope > 0 ? left : right) = next;
    if (next.slope == 0) break;
  }
  return best;
}

}  // namespace tidemark::scheduler
