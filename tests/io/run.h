// A training run with all that a checkpoint keeps: dropout, batch norm, shuffled batches, a schedule, averages of the
// weights and a metric.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/core/temporary_folder.h"
#include "tidemark/tidemark.h"

namespace tidemark::io {

using Folder = test::TemporaryFolder;

struct RunOptions {
  std::string file = {};  // of the checkpoints; empty: none
  int keep = 2;
  std::optional<std::int64_t> budget = {};
  std::uint64_t seed = 1;
  std::int64_t width = 24;
  std::int64_t examples = 70;
  std::int64_t batch = 8;
  DType state = f16;
  bool sgd = false;
};

class TrainingRun {
 public:
  explicit TrainingRun(const RunOptions& options);
  std::optional<Resumed> resume() { return checkpoints_->resume(); }
  // Goes on until so many steps have been taken; saves after each where `save`.
  void train_to(std::int64_t step, bool save = false);
  void save() { checkpoints_->save(); }
  // Of weights, running statistics, averages, the metric and the learning rate.
  std::string hash();

  Session& session() { return session_; }
  nn::Sequential& net() { return net_; }
  optim::Optimizer& optimizer() { return *optimizer_; }
  Checkpointer& checkpoints() { return *checkpoints_; }
  data::Loader& loader() { return loader_; }

 private:
  void take_step();

  Session session_;
  nn::Sequential net_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  optim::Scheduler schedule_;
  optim::ExponentialAverage average_;
  metrics::RunningMean mean_;
  data::Loader loader_;
  std::optional<data::Loader::Iterator> batch_;
  std::int64_t epochs_ = 0;
  std::optional<Checkpointer> checkpoints_;
};

std::string read_bytes(const std::string& file);
void write_bytes(const std::string& file, const std::string& bytes);

}  // namespace tidemark::io
