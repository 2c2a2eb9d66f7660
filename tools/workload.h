// What the subcommands work on: a built-in model on a kind of data, as the command line names them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tidemark/data.h"
#include "tidemark/models.h"
#include "tools/options.h"

namespace tidemark::tools {

class Workload {
 public:
  // Reads the data files. The options are those that check() let through; throws UsageError where they do not fit the
  // data or the model.
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
  void check_model() const;
  std::int64_t classes() const;
  std::shared_ptr<const data::Source> read(data::Split split) const;

  WorkloadOptions options_;
  const nn::NamedModel* model_;
  std::shared_ptr<const data::Source> train_, test_;
};

}  // namespace tidemark::tools
