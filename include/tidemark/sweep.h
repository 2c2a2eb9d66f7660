// A budget sweep: one program trained in many budgets, each point in a process of its own, and what it took.
//
//   const td::Sweep sweep = td::sweep({.name = "my net", .budgets = {"none", "60%", "30%"}, .file = "sweep.json"}, [] {
//     auto net = std::make_shared<Net>();
//     auto optimizer = std::make_shared<td::optim::AdamW>(net->parameters());
//     return td::SweepSubject{.loss = [net, x, y] { return td::cross_entropy((*net)(x), y); },
//                             .parameters = net->parameters(), .optimizer = optimizer};
//   });
//
// Call it before the first session of the process. docs/sweep.md describes the file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tidemark/costs.h"
#include "tidemark/optim.h"
#include "tidemark/parameter.h"
#include "tidemark/scheduler.h"
#include "tidemark/session.h"
#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

// What a program trains, in the current session.
struct SweepSubject {
  std::function<Tensor()> loss;  // of the next batch
  std::vector<Parameter> parameters;
  std::vector<Parameter> state = {};  // running statistics, which are compared like weights
  std::shared_ptr<optim::Optimizer> optimizer;
};

struct SweepOptions {
  std::string name;  // of the program, in the report
  // "none"; bytes as "512MiB"; "40%" of the peak without a budget above the fixed bytes, which are added; "smallest":
  // that was planned; "auto": the smallest, and eleven from there on evenly to the peak.
  std::vector<std::string> budgets = {"none", "auto"};
  int rounds = 3;  // processes a point; rounds come one after the other, so that drift of the machine meets all alike
  int steps = 5;   // measured of each process, after two that are not
  int threads = 0;
  std::uint64_t seed = 1;
  // How plans weigh ops: "general" rates, "calibrated" ones of this machine, or "measured" of the ops themselves, in
  // `rounds` further processes without a budget.
  std::string costs = "general";
  // Results are here after each process. A sweep that was interrupted goes on where it stopped; a file of other options
  // is refused. Empty: nothing is kept.
  std::string file;
  std::string subject;  // told from others by this text: model, sizes, batch
  // Options of report/torch_peer.py, which trains the same in PyTorch where python3-torch is there: plain, and
  // checkpointed in two ways. Empty: no peers.
  std::vector<std::string> peers = {};
  std::function<void(const std::string& line)> say = {};
};

// What one process measured.
struct SweepRun {
  std::vector<double> seconds;  // of the measured steps
  std::int64_t peak_bytes = 0;  // of all steps
  std::int64_t reserved_bytes = 0;
  std::int64_t fixed_bytes = 0;
  std::int64_t rss_peak_bytes = 0;
  std::int64_t recomputed_ops = 0;  // of a step, as all below
  double recompute_seconds = 0;
  std::int64_t moved_bytes = 0;
  double plan_seconds = 0;  // in all
  double plan_cost = 0;
  double plan_bound = 0;
  bool planned = false;  // each measured step followed a plan
  std::uint64_t loss_hash = 0;
  std::uint64_t gradient_hash = 0;
  std::uint64_t weight_hash = 0;
  // By the op's signature: how often it ran in a step after the first time, and seconds of one run.
  struct OpTime {
    std::int64_t again = 0;
    double seconds = 0;
  };
  std::unordered_map<std::uint64_t, OpTime> ops = {};
};

struct SweepPoint {
  std::string asked;                   // "40%"
  std::optional<std::int64_t> budget;  // bytes
  std::string refused = {};            // why it cannot run; empty where it does
  std::vector<SweepRun> runs = {};

  // Over all runs; 0 without one.
  double seconds = 0;    // median of the runs' medians
  double spread = 0;     // largest less smallest of these, over the median
  double extra = 0;      // median over the rounds of the seconds over those without a budget in that round, less 1
  double predicted = 0;  // seconds of a step, from measured times of the ops that run again
  double bound = 0;      // seconds: no plan of this step and budget takes less, by the plan's costs
  bool equal = false;    // loss, gradients and weights are those without a budget, bit for bit
};

// The same in PyTorch.
struct SweepPeer {
  std::string name;                  // "PyTorch, checkpointed by block"
  std::string settings;              // of the allocator and the threads
  std::string refused = {};          // why it did not run
  std::vector<double> seconds = {};  // a process each
  std::int64_t peak_bytes = 0;       // resident above what PyTorch alone has
  double median_seconds() const;
};

struct Sweep {
  SweepOptions options;
  std::int64_t fixed_bytes = 0;
  std::int64_t peak_bytes = 0;      // without a budget
  std::int64_t smallest_bytes = 0;  // the smallest budget that was planned
  Costs plan_costs = {};            // by which all plans are made
  std::vector<SweepPoint> points = {};
  std::vector<SweepPeer> peers = {};
  bool complete() const;
  std::string table() const;
};

// Throws Error where the options do not fit, FileError where the file cannot be written or is of another sweep, and
// what the program throws.
Sweep sweep(const SweepOptions& options, const std::function<SweepSubject()>& program);
// The bytes that a sweep's budget stands for: "40%" of `peak` above `fixed`, "512MiB"; nothing for "none".
std::optional<std::int64_t> sweep_budget(const std::string& text, std::int64_t fixed, std::int64_t peak);

// The largest batch from 1 to `most` for which a plan of the step is found in the budget, by dry runs; 0 where there is
// none. A batch that is larger than one that does not fit is taken not to fit.
std::int64_t largest_batch(std::int64_t budget, std::int64_t most, const SessionOptions& options,
                           const std::function<SweepSubject(std::int64_t batch)>& program);
// A sweep that was written by sweep(), finished or not.
Sweep read_sweep(const std::string& file);

}  // namespace tidemark
#pragma GCC visibility pop
