// What the subcommands work on: a built-in model on a kind of data, as the command line names them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tidemark/data.h"
#include "tidemark/models.h"

namespace CLI {
class App;
}

namespace tidemark::tools {

struct WorkloadOptions {
  std::string model = "mlp";
  NamedValues::Given model_options;
  std::string data = "synthetic";
  std::int64_t batch = 32;
  std::int64_t seed = 1;
  // Of the data; for synthetic data alone, but for the context.
  std::optional<std::int64_t> image, channels, classes, vocabulary, context;
};
void add_workload_options(CLI::App& app, WorkloadOptions& options);

class Workload {
 public:
  // Reads the data files. Throws UsageError where model, options and data do not go together.
  explicit Workload(const WorkloadOptions& options);

  const WorkloadOptions& options() const { return options_; }
  bool is_text() const { return model_->reads_tokens; }
  const std::shared_ptr<const data::Source>& train() const { return train_; }
  // Read when it is first asked for.
  const std::shared_ptr<const data::Source>& test();
  // Tokens of a row, of a model that reads text.
  std::int64_t context() const;
  // A new model in the current session.
  nn::Sequential make_model() const;

 private:
  void check_data() const;
  void check_model() const;
  std::int64_t classes() const;
  std::shared_ptr<const data::Source> read(data::Split split) const;

  WorkloadOptions options_;
  const nn::NamedModel* model_;
  std::shared_ptr<const data::Source> train_, test_;
};

}  // namespace tidemark::tools
