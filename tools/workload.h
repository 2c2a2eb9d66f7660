// What the subcommands work on: a built-in model on a kind of data, as the command line names them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tidemark/data.h"
#include "tidemark/nn.h"
#include "tools/options.h"

namespace tidemark::tools {

struct WorkloadOptions {
  std::string model = "mlp";
  std::string data = "synthetic";
  std::int64_t batch = 32;
  std::int64_t seed = 1;
  // 0: as the model has it.
  std::int64_t width = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 4;
  std::int64_t context = 64;
  std::int64_t vocabulary = 256;
  std::int64_t image = 32;
  std::int64_t channels = 3;
  std::int64_t classes = 10;
  bool batch_norm = false;
  double dropout = -1;  // below 0: as the model has it
};
void add_workload_options(OptionTable& table, WorkloadOptions& options);

class Workload {
 public:
  // Reads the data files. Throws UsageError where model and data do not go together.
  explicit Workload(const WorkloadOptions& options);

  const WorkloadOptions& options() const { return options_; }
  bool is_text() const { return options_.model == "gpt"; }
  const std::shared_ptr<const data::Source>& train() const { return train_; }
  // Read when it is first asked for.
  const std::shared_ptr<const data::Source>& test();
  // A new model in the current session.
  nn::Sequential make_model() const;

 private:
  std::shared_ptr<const data::Source> read(data::Split split) const;

  WorkloadOptions options_;
  std::shared_ptr<const data::Source> train_, test_;
};

}  // namespace tidemark::tools
