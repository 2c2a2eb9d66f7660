#include "scheduler/bound/several_instants.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "scheduler/bound/instant_bound.h"
#include "scheduler/bound/lower_bound.h"
#include "scheduler/bound/whole_buffers.h"

namespace tidemark::scheduler {
namespace {

// Arcs looked at by the branch and bound of one span, while instants are compared and when they are chosen.
constexpr std::int64_t kBriefSpan = 20'000;
constexpr std::int64_t kLongSpan = 1'000'000;

// From one instant to the next, and from the last to the end. Reruns in different spans are distinct, so bounds of the
// spans add up once the links between them, "resident at an instant only if available before it", are priced instead
// of demanded: a buffer is charged for staying at the instant, and as much for being lacking before it. Any charges
// give a bound; good ones are found by subgradients.
class Spans {
 public:
  Spans(const Program& program, std::int64_t budget, std::vector<OpId> instants)
      : program_(program), budget_(budget), instants_(std::move(instants)), choices_(instants_.size()) {
    std::vector<BufferId> wanted;
    OpId until = program.op_count;
    for (std::size_t i = instants_.size(); i-- > 0;) {
      spans_.insert(spans_.begin(), std::make_unique<InstantBound>(program, instants_[i], until, wanted));
      links_.insert(links_.begin(), spans_.front()->may_lack());
      wanted = spans_.front()->may_stay();
      until = instants_[i];
    }
    charges_.assign(instants_.size() + 1, std::vector<double>(static_cast<std::size_t>(program.buffer_count), 0));
    good_ = charges_;
  }

  // One instant more.
  Spans(const Spans& from, OpId t) : Spans(from.program_, from.budget_, with(from.instants_, t)) {
    adopt(from, t);
    good_ = charges_;
  }

  // Some rounds of ascent towards `enough`, or until `work` arcs have been looked at.
  void ascend(int rounds, double enough, std::int64_t work, std::int64_t each) {
    constexpr int kPatience = 3;
    constexpr double kAim = 0.1;  // above the best, in parts of what is enough
    for (int round = 0; round < rounds && best_ < enough && work_ < work && !exhausted_; ++round) {
      const double bound = measure(each);
      if (bound > best_) {
        if (bound > best_ * (1 + 1e-4)) stale_ = 0;
        best_ = bound;
        good_ = charges_;
      } else if (++stale_ == kPatience) {
        pace_ *= 0.5;
        stale_ = 0;
        charges_ = good_;
        (void)measure(each);
      }
      step(std::min(enough, best_ + kAim * pace_ * enough) - bound);
    }
  }

  double best() const { return best_; }
  bool exhausted() const { return exhausted_; }  // no link is broken, so no charges are better
  std::int64_t work() const { return work_; }
  const std::vector<OpId>& instants() const { return instants_; }

 private:
  static std::vector<OpId> with(std::vector<OpId> instants, OpId t) {
    instants.insert(std::upper_bound(instants.begin(), instants.end(), t), t);
    return instants;
  }

  // Begins from the charges that were good without the new instant. Those of its own link are what staying or running
  // again was worth in the span that it divides.
  void adopt(const Spans& from, OpId t) {
    for (std::size_t i = 1; i < instants_.size(); ++i) {
      const auto next = std::lower_bound(from.instants_.begin(), from.instants_.end(), instants_[i]);
      const auto at = static_cast<std::size_t>(next - from.instants_.begin());
      charges_[i] = from.good_[at];
      if (instants_[i] != t) continue;
      const InstantBound::Choice& choice = from.choices_[at - 1];
      for (BufferId b : links_[i - 1]) {
        const OpId producer = program_.producer[b];
        double& charge = charges_[i][static_cast<std::size_t>(b)];
        if (choice.stays[b]) {
          charge =
              choice.price * static_cast<double>(program_.bytes[b]) + from.good_[at - 1][static_cast<std::size_t>(b)];
        } else if (producer >= 0 && choice.reruns[producer]) {
          charge = program_.cost[producer] / static_cast<double>(program_.writes[producer].size());
        }
      }
    }
  }

  double measure(std::int64_t each) {
    double bound = 0;
    for (std::size_t i = 0; i < spans_.size(); ++i) {
      spans_[i]->charge(charges_[i], charges_[i + 1]);
      const std::int64_t before = spans_[i]->work();
      bound += whole_bound(*spans_[i], budget_, each, &choices_[i]);
      work_ += spans_[i]->work() - before + program_.buffer_count;
      for (BufferId b : links_[i]) bound -= charges_[i + 1][static_cast<std::size_t>(b)];
    }
    return bound;
  }

  // Moves the charges against what breaks a link, or leaves one unused, in proportion to what the buffer costs.
  void step(double distance) {
    const double least = 0.02 * program_.base_cost / static_cast<double>(program_.op_count);
    const auto each = [&](auto visit) {
      for (std::size_t i = 0; i + 1 < spans_.size(); ++i) {
        for (BufferId b : links_[i]) {
          const int way = choices_[i + 1].stays[b] - (1 - choices_[i].lacks[b]);
          double& charge = charges_[i + 1][static_cast<std::size_t>(b)];
          if (way == 0 || (way < 0 && charge <= 0)) continue;
          const OpId producer = program_.producer[b];
          visit(charge, way, least + (producer >= 0 ? program_.cost[producer] : 0));
        }
      }
    };
    double square = 0;
    each([&](double&, int, double weight) { square += weight; });
    exhausted_ = square <= 0;
    if (exhausted_) return;
    each([&](double& charge, int way, double weight) {
      charge = std::max(0.0, charge + way * weight * distance / square);
    });
  }

  const Program& program_;
  const std::int64_t budget_;
  std::vector<OpId> instants_;
  std::vector<std::unique_ptr<InstantBound>> spans_;
  std::vector<std::vector<BufferId>> links_;   // by span; what may be available at its end
  std::vector<std::vector<double>> charges_;   // by span and buffer; of the link at its beginning
  std::vector<std::vector<double>> good_;      // those of `best_`
  std::vector<InstantBound::Choice> choices_;  // by span
  double best_ = 0;
  double pace_ = 1;
  int stale_ = 0;
  bool exhausted_ = false;
  std::int64_t work_ = 0;
};

class Joint {
 public:
  Joint(const Program& program, std::int64_t budget, double enough, std::int64_t work)
      : program_(program), budget_(budget), enough_(enough), work_(work), narrow_(narrow_instants(program, budget)) {}

  double run(OpId instant) {
    constexpr std::size_t kMostInstants = 6;
    constexpr double kWorthwhile = 1e-3;
    auto now = std::make_unique<Spans>(program_, budget_, std::vector<OpId>{instant});
    ascend(*now, 1, kLongSpan);
    while (now->instants().size() < kMostInstants && now->best() < enough_ && work_ > 0) {
      auto next = one_more(*now);
      if (next == nullptr) break;
      const bool worthwhile = next->best() > now->best() * (1 + kWorthwhile);
      if (next->best() > now->best()) now = std::move(next);
      if (!worthwhile) break;
    }
    return now->best();
  }

 private:
  void ascend(Spans& spans, int rounds, std::int64_t each) {
    const std::int64_t before = spans.work();
    spans.ascend(rounds, enough_, before + work_, each);
    work_ -= spans.work() - before;
  }

  // Of the narrow instants the one that raises the bound most: all get a few rounds, the best of them more.
  std::unique_ptr<Spans> one_more(const Spans& now) {
    constexpr int kFewRounds = 6;
    constexpr int kRounds = 40;
    struct Candidate {
      OpId t;
      std::unique_ptr<Spans> spans;
    };
    std::vector<Candidate> open;
    const auto add = [&](OpId t) {
      if (t < program_.first_op || t >= program_.op_count) return;
      if (std::binary_search(now.instants().begin(), now.instants().end(), t)) return;
      open.push_back({t, std::make_unique<Spans>(now, t)});
    };
    const auto keep_best = [&](std::size_t most) {
      std::erase_if(open, [&](const Candidate& c) { return c.spans->exhausted() && c.spans->best() <= now.best(); });
      std::stable_sort(open.begin(), open.end(),
                       [](const Candidate& a, const Candidate& b) { return a.spans->best() > b.spans->best(); });
      open.resize(std::min(most, open.size()));
    };
    for (OpId t : narrow_) add(t);
    int rounds = kFewRounds;
    do {
      for (Candidate& c : open) ascend(*c.spans, rounds, kBriefSpan);
      keep_best((open.size() + 2) / 3);
      rounds *= 2;
    } while (open.size() > 1 && work_ > 0);
    if (open.empty()) return nullptr;
    const OpId center = open[0].t;
    for (const OpId t : {center - 1, center + 1}) {
      add(t);
      if (open.back().t == t) ascend(*open.back().spans, rounds, kBriefSpan);
    }
    keep_best(1);
    if (open.empty()) return nullptr;
    ascend(*open[0].spans, kRounds, kLongSpan);
    return std::move(open[0].spans);
  }

  const Program& program_;
  const std::int64_t budget_;
  const double enough_;
  std::int64_t work_;
  const std::vector<OpId> narrow_;
};

}  // namespace

double bound_of_several_instants(const Program& program, std::int64_t budget, OpId instant, double enough,
                                 std::int64_t work) {
  return Joint(program, budget, enough, work).run(instant);
}

}  // namespace tidemark::scheduler
