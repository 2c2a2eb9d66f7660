#include "report/measure.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <unordered_map>
#include <vector>

#include "report/child.h"
#include "report/sweep_file.h"
#include "tidemark/dry_run.h"
#include "tidemark/error.h"

namespace tidemark::report {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUp = 2;

// Of the elements' bits, one tensor after the other.
class BitHash {
 public:
  void add(const Tensor& tensor) {
    const std::vector<float> elements = tensor.to_vector();
    hash_ = XXH3_64bits_withSeed(elements.data(), elements.size() * sizeof(float), hash_);
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0;
};

struct Step {
  double seconds = 0;
  std::uint64_t loss_hash = 0;
  std::uint64_t gradient_hash = 0;
};

// The hash of the gradients is no part of the time.
Step one_step(SweepSubject& subject, bool hashed) {
  Step step;
  const auto began = Clock::now();
  BitHash loss_hash;
  {
    const Tensor loss = subject.loss();
    loss.backward();
    loss_hash.add(loss);
  }
  const auto pause = Clock::now();
  if (hashed) {
    BitHash gradients;
    for (const Parameter& parameter : subject.parameters) {
      if (const Tensor gradient = parameter.grad(); gradient.defined()) gradients.add(gradient);
    }
    step.gradient_hash = gradients.value();
  }
  const auto resume = Clock::now();
  subject.optimizer->step();
  subject.optimizer->zero_grad();
  step.seconds = std::chrono::duration<double>((pause - began) + (Clock::now() - resume)).count();
  step.loss_hash = loss_hash.value();
  return step;
}

void check(const SweepSubject& subject) {
  if (!subject.loss || subject.optimizer == nullptr || subject.parameters.empty()) {
    throw Error("[sweep] the program has to give a loss, parameters and an optimizer");
  }
}

}  // namespace

SweepRun measure(const SessionOptions& options, int steps, const std::function<SweepSubject()>& program) {
  Session session(options);
  SweepSubject subject = program();
  check(subject);
  SweepRun run;
  run.planned = true;
  for (int i = 0; i < kWarmUp + steps; ++i) {
    const Step step = one_step(subject, false);
    if (i < kWarmUp) continue;
    run.seconds.push_back(step.seconds);
    run.planned = run.planned && session.report().last_step.planned;
  }
  Report report = session.report();
  run.recomputed_ops = report.last_step.recomputed_ops;
  run.recompute_seconds = report.last_step.recompute_seconds;
  run.plan_seconds = report.plan_seconds;
  run.plan_cost = report.plan_cost;
  run.plan_bound = report.plan_bound;
  run.rss_peak_bytes = report.rss_peak_bytes;

  session.start_timeline();
  const Step last = one_step(subject, true);
  const Timeline timeline = session.stop_timeline();
  run.loss_hash = last.loss_hash;
  run.gradient_hash = last.gradient_hash;
  BitHash weights;
  for (const auto* list : {&subject.parameters, &subject.state}) {
    for (const Parameter& each : *list) weights.add(each);
  }
  run.weight_hash = weights.value();
  std::map<std::uint64_t, std::int64_t> runs;
  for (const Timeline::Span& span : timeline.spans) {
    if (span.track == Timeline::Track::kMove) run.moved_bytes += span.bytes;
    if (span.signature == 0) continue;
    SweepRun::OpTime& op = run.ops[span.signature];
    op.again = runs[span.signature]++;
    op.seconds += span.end - span.begin;
  }
  for (auto& [signature, op] : run.ops) op.seconds /= static_cast<double>(op.again + 1);
  report = session.report();
  run.peak_bytes = report.peak_bytes;
  run.reserved_bytes = report.reserved_bytes;
  run.fixed_bytes = report.fixed_bytes;
  return run;
}

Forecast forecast(const SessionOptions& options, const std::function<SweepSubject()>& program) {
  Forecast result;
  const DryRun run = dry_run(options,
                             [&] {
                               SweepSubject subject = program();
                               check(subject);
                               for (int i = 0; i < kWarmUp; ++i) one_step(subject, false);
                               result.fixed_bytes = Session::current().report().fixed_bytes;
                             },
                             {.offers = 0});
  result.peak_bytes = run.peak;
  result.smallest_bytes = run.smallest;
  return result;
}

Costs costs_in_child(const SweepOptions& sweep, const SessionOptions& session,
                     const std::function<SweepSubject()>& program) {
  if (sweep.costs == "general") return {};
  const auto rates = nlohmann::json::parse(in_child([&] {
    const Costs costs = Costs::calibrated(session.threads);
    return nlohmann::json({costs.seconds_per_call, costs.seconds_per_flop, costs.seconds_per_byte}).dump();
  }));
  Costs costs{.seconds_per_call = rates.at(0), .seconds_per_flop = rates.at(1), .seconds_per_byte = rates.at(2)};
  if (sweep.costs == "calibrated") return costs;
  std::unordered_map<std::uint64_t, std::vector<double>> times;
  for (int round = 0; round < sweep.rounds; ++round) {
    const SweepRun run = run_from_json(in_child([&] { return run_to_json(measure(session, 1, program)); }));
    for (const auto& [signature, op] : run.ops) times[signature].push_back(op.seconds);
  }
  for (auto& [signature, each] : times) {
    const auto middle = each.begin() + std::ssize(each) / 2;
    std::nth_element(each.begin(), middle, each.end());
    costs.measured[signature] = *middle;
  }
  return costs;
}

}  // namespace tidemark::report
