#include "tools/workload.h"

#include "tidemark/session.h"
#include "tools/arguments.h"
#include "tools/command.h"

namespace tidemark::tools {
Workload::Workload(const WorkloadOptions& options)
    : options_(options), model_(&find_named(nn::models(), "model", options.model, {})) {
  train_ = read(data::Split::kTrain);
  if (options_.batch > train_->size()) {
    throw UsageError("--batch is '" + std::to_string(options_.batch) + "', but the training data has " +
                     std::to_string(train_->size()) + " examples");
  }
  check_model();
}

// Whether the options fit each other and the data is for the model to say; nothing runs and no memory is taken.
void Workload::check_model() const {
  const Session session({.threads = 1, .dry_run = true});
  try {
    (void)make_model();
  } catch (const ShapeError& error) {
    throw UsageError("--model " + options_.model + " with these options: " + without_place(error));
  }
}

const std::shared_ptr<const data::Source>& Workload::test() {
  if (!test_) test_ = read(data::Split::kTest);
  return test_;
}

std::int64_t Workload::context() const { return options_.context.value_or(kContext); }

std::int64_t Workload::classes() const {
  if (is_text()) return options_.vocabulary.value_or(kVocabulary);
  return options_.classes.value_or(kClasses);
}

std::shared_ptr<const data::Source> Workload::read(data::Split split) const {
  const DataSpec spec = parse_data(options_.data);
  const auto seed = static_cast<std::uint64_t>(options_.seed);
  if (spec.kind == "mnist") return data::mnist_source(spec.path, split);
  if (spec.kind == "cifar10") return data::cifar10_source(spec.path, split);
  if (spec.kind == "text") return data::text_source(spec.path, split, {.context = context(), .seed = seed});
  if (is_text()) {
    return data::synthetic_tokens({.context = context(), .vocabulary = classes(), .seed = seed}, split);
  }
  return data::synthetic_images({.channels = options_.channels.value_or(kChannels),
                                 .image = options_.image.value_or(kImage),
                                 .classes = classes(),
                                 .seed = seed},
                                split);
}

nn::Sequential Workload::make_model() const {
  return nn::make_model(options_.model, {.shape = train_->x_shape(), .classes = classes()}, options_.model_options);
}

}  // namespace tidemark::tools
