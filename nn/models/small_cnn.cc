#include <string>

#include "nn/models/table.h"

namespace tidemark::nn {

Sequential small_cnn(const SmallCnnOptions& options, SourceLocation where) {
  require(options.image >= 4, "small_cnn", ".image must be at least 4, but is " + std::to_string(options.image), where);
  require(options.width > 0 && options.width <= kMaxBytes, "small_cnn",
          ".width must be from 1 to " + std::to_string(kMaxBytes) + ", but is " + std::to_string(options.width), where);
  const std::int64_t side = options.image / 2 / 2;
  const std::int64_t features = elements_of({2 * options.width, side, side}, "small_cnn", where);
  return Sequential(
      Conv2d({.in = options.channels, .out = options.width, .kernel = 3, .padding = 1}, where), ReLU(), MaxPool2d(),
      Conv2d({.in = options.width, .out = 2 * options.width, .kernel = 3, .padding = 1}, where), ReLU(), MaxPool2d(),
      Flatten(), Linear({.in = features, .out = 4 * options.width}, where), ReLU(),
      Dropout({.p = options.dropout}, where), Linear({.in = 4 * options.width, .out = options.classes}, where));
}

NamedModel small_cnn_model() {
  return {.name = "small-cnn",
          .summary = "two convolutions with max-pooling, two linear layers",
          .options = {NamedOption::whole("width", 32, 1, 1 << 20, "channels of the first convolution"),
                      NamedOption::number("dropout", 0.25, 0, 0.99, "probability")},
          .make = [](const NamedValues& values, const Examples& examples, SourceLocation where) {
            return small_cnn({.channels = examples.shape[0],
                              .image = examples.shape[1],
                              .classes = examples.classes,
                              .width = values.whole("width"),
                              .dropout = values.number("dropout")},
                             where);
          }};
}

}  // namespace tidemark::nn
