#include "tools/workload.h"

#include <limits>
#include <vector>

#include "tidemark/models.h"

namespace tidemark::tools {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;

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

std::int64_t or_default(std::int64_t value, std::int64_t otherwise) { return value > 0 ? value : otherwise; }

float dropout(const WorkloadOptions& options, float otherwise) {
  return options.dropout < 0 ? otherwise : static_cast<float>(options.dropout);
}

}  // namespace

void add_workload_options(OptionTable& table, WorkloadOptions& options) {
  table.heading("What is trained");
  table.choice("model", "the model", options.model, {"mlp", "small-cnn", "vgg16", "gpt"});
  table.text("data", "SPEC", "synthetic, mnist:DIR, cifar10:DIR or text:FILE (gpt) [synthetic]", options.data);
  table.integer("batch", "examples a step", options.batch, 1, kMost);
  table.integer("seed", "of initial weights, dropout, the data's order and synthetic data", options.seed, 0,
                std::numeric_limits<std::int64_t>::max());
  table.heading("Sizes of the model");
  table.integer("width", "mlp: hidden units [256]; small-cnn, vgg16: channels of the first layer [32, 64]; gpt [128]",
                options.width, 1, 1 << 20);
  table.integer("layers", "mlp: hidden layers [2]; gpt: blocks [4]", options.layers, 1, 10000);
  table.integer("heads", "gpt: attention heads", options.heads, 1, 1 << 16);
  table.integer("context", "gpt: tokens of a row", options.context, 1, 1 << 20);
  table.flag("batch-norm", "vgg16: batch normalisation after each convolution", options.batch_norm);
  table.number("dropout", "small-cnn [0.25], vgg16 [0.5], gpt [0.1]: probability", options.dropout, 0, 0.99);
  table.heading("Sizes of synthetic data");
  table.integer("image", "height and width of the images", options.image, 1, 1 << 14);
  table.integer("channels", "channels of the images", options.channels, 1, 1 << 14);
  table.integer("classes", "classes of the images", options.classes, 2, 1 << 20);
  table.integer("vocabulary", "different tokens", options.vocabulary, 2, 1 << 24);
}

Workload::Workload(const WorkloadOptions& options) : options_(options) {
  const DataSpec spec = parse_data(options_.data);
  if (is_text() && spec.kind != "synthetic" && spec.kind != "text") {
    throw UsageError("--model gpt reads text: --data can be synthetic or text:FILE");
  }
  if (!is_text() && spec.kind == "text") {
    throw UsageError("--model " + options_.model + " reads images: --data can be synthetic, mnist:DIR or cifar10:DIR");
  }
  if (options_.model == "small-cnn" && spec.kind == "synthetic" && options_.image < 4) {
    throw UsageError("--image is '" + std::to_string(options_.image) + "', but small-cnn needs at least 4");
  }
  if (is_text() && or_default(options_.width, 128) % options_.heads != 0) {
    throw UsageError("--heads is '" + std::to_string(options_.heads) + "', but must divide the width of " +
                     std::to_string(or_default(options_.width, 128)));
  }
  train_ = read(data::Split::kTrain);
  if (options_.batch > train_->size()) {
    throw UsageError("--batch is '" + std::to_string(options_.batch) + "', but the training data has " +
                     std::to_string(train_->size()) + " examples");
  }
}

const std::shared_ptr<const data::Source>& Workload::test() {
  if (!test_) test_ = read(data::Split::kTest);
  return test_;
}

std::shared_ptr<const data::Source> Workload::read(data::Split split) const {
  const DataSpec spec = parse_data(options_.data);
  const auto seed = static_cast<std::uint64_t>(options_.seed);
  if (spec.kind == "mnist") return data::mnist_source(spec.path, split);
  if (spec.kind == "cifar10") return data::cifar10_source(spec.path, split);
  if (spec.kind == "text") return data::text_source(spec.path, split, {.context = options_.context, .seed = seed});
  if (is_text()) {
    return data::synthetic_tokens({.context = options_.context, .vocabulary = options_.vocabulary, .seed = seed},
                                  split);
  }
  return data::synthetic_images(
      {.channels = options_.channels, .image = options_.image, .classes = options_.classes, .seed = seed}, split);
}

nn::Sequential Workload::make_model() const {
  const WorkloadOptions& o = options_;
  if (o.model == "gpt") {
    return nn::Sequential(nn::Gpt({.layers = static_cast<int>(or_default(o.layers, 4)),
                                   .width = or_default(o.width, 128),
                                   .heads = static_cast<int>(o.heads),
                                   .context = o.context,
                                   .vocabulary = o.data == "synthetic" ? o.vocabulary : 256,
                                   .dropout = dropout(o, 0.1f)}));
  }
  const Shape example = train_->x_shape();
  const std::int64_t classes = o.data == "synthetic" ? o.classes : 10;
  if (o.model == "vgg16") {
    return nn::vgg16({.channels = example[0],
                      .image = example[1],
                      .classes = classes,
                      .width = or_default(o.width, 64),
                      .batch_norm = o.batch_norm,
                      .dropout = dropout(o, 0.5f)});
  }
  if (o.model == "small-cnn") {
    return nn::small_cnn({.channels = example[0],
                          .image = example[1],
                          .classes = classes,
                          .width = or_default(o.width, 32),
                          .dropout = dropout(o, 0.25f)});
  }
  std::vector<std::int64_t> sizes{example.numel()};
  sizes.insert(sizes.end(), static_cast<std::size_t>(or_default(o.layers, 2)), or_default(o.width, 256));
  sizes.push_back(classes);
  return nn::mlp({.sizes = sizes});
}

}  // namespace tidemark::tools
