#include "tools/workload.h"

#include <limits>
#include <vector>

#include "tidemark/session.h"
#include "tools/arguments.h"

namespace tidemark::tools {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;
constexpr std::int64_t kImage = 32, kChannels = 3, kClasses = 10, kVocabulary = 256, kContext = 64;

// "mnist:DIR" is the kind and what it is read from.
struct DataSpec {
  std::string kind;
  std::string path;
};

DataSpec parse_data(const std::string& text) {
  const std::size_t colon = text.find(':');
  DataSpec spec{text.substr(0, colon), colon == text.npos ? "" : text.substr(colon + 1)};
  const bool from_files = spec.kind == "mnist" || spec.kind == "cifar10" || spec.kind == "text";
  if ((spec.kind == "synthetic" && colon == text.npos) || (from_files && !spec.path.empty())) return spec;
  throw UsageError("--data is '" + text + "', but can be: synthetic, mnist:DIR, cifar10:DIR, text:FILE");
}

std::string describe_models() {
  std::string text;
  for (const nn::NamedModel& model : nn::models()) {
    text += (text.empty() ? "" : "\n") + model.name + ": " + model.summary;
  }
  return text;
}

}  // namespace

void add_workload_options(CLI::App& app, WorkloadOptions& options) {
  add_choice(app, "--model", options.model, list_names(nn::models()), describe_models())->group("What is trained");
  add_text(app, "--data", "SPEC", options.data, "synthetic, mnist:DIR, cifar10:DIR or text:FILE")
      ->group("What is trained");
  add_whole(app, "--batch", options.batch, 1, kMost, "examples a step")->group("What is trained");
  add_whole(app, "--seed", options.seed, 0, std::numeric_limits<std::int64_t>::max(),
            "of initial weights, dropout, the data's order and synthetic data")
      ->group("What is trained");
  add_named_options(app, nn::models(), "Sizes of the model", options.model_options);
  const auto size = [&](const char* name, std::optional<std::int64_t>& target, std::int64_t otherwise,
                        std::int64_t least, std::int64_t most, const char* help) {
    add_whole(app, name, target, std::to_string(otherwise), least, most, help)->group("Sizes of the data");
  };
  size("--image", options.image, kImage, 1, 1 << 14, "synthetic images: height and width");
  size("--channels", options.channels, kChannels, 1, 1 << 14, "synthetic images: channels");
  size("--classes", options.classes, kClasses, 2, 1 << 20, "synthetic images: classes");
  size("--vocabulary", options.vocabulary, kVocabulary, 2, 1 << 24, "synthetic text: different tokens");
  size("--context", options.context, kContext, 1, 1 << 20, "text: tokens of a row");
}

Workload::Workload(const WorkloadOptions& options)
    : options_(options), model_(&find_named(nn::models(), "model", options.model, {})) {
  check_named("--model", nn::models(), options_.model, options_.model_options);
  check_data();
  train_ = read(data::Split::kTrain);
  if (options_.batch > train_->size()) {
    throw UsageError("--batch is '" + std::to_string(options_.batch) + "', but the training data has " +
                     std::to_string(train_->size()) + " examples");
  }
  check_model();
}

void Workload::check_data() const {
  const DataSpec spec = parse_data(options_.data);
  const bool synthetic = spec.kind == "synthetic";
  if (is_text() && !synthetic && spec.kind != "text") {
    throw UsageError("--model " + options_.model + " reads text: --data can be synthetic or text:FILE");
  }
  if (!is_text() && spec.kind == "text") {
    throw UsageError("--model " + options_.model + " reads images: --data can be synthetic, mnist:DIR or cifar10:DIR");
  }
  const auto only = [&](const char* name, const std::optional<std::int64_t>& value, bool applies, const char* to) {
    if (!value || applies) return;
    throw UsageError(std::string(name) + " is for " + to + ", not for --model " + options_.model + " --data " +
                     options_.data);
  };
  only("--image", options_.image, synthetic && !is_text(), "synthetic images");
  only("--channels", options_.channels, synthetic && !is_text(), "synthetic images");
  only("--classes", options_.classes, synthetic && !is_text(), "synthetic images");
  only("--vocabulary", options_.vocabulary, synthetic && is_text(), "synthetic text");
  only("--context", options_.context, is_text(), "text");
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
