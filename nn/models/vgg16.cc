#include <string>

#include "nn/models/table.h"

namespace tidemark::nn {

Sequential vgg16(const Vgg16Options& options, SourceLocation where) {
  require(options.image > 0, "vgg16", ".image must be at least 1, but is " + std::to_string(options.image), where);
  require(options.width > 0, "vgg16", ".width must be at least 1, but is " + std::to_string(options.width), where);
  struct Stage {
    int layers;
    int widths;  // in units of the first stage's width
  };
  constexpr Stage kStages[] = {{2, 1}, {2, 2}, {3, 4}, {3, 8}, {3, 8}};

  Sequential net;
  std::int64_t channels = options.channels;
  std::int64_t side = options.image;
  for (const Stage& stage : kStages) {
    const std::int64_t out = stage.widths * options.width;
    for (int i = 0; i < stage.layers; ++i) {
      net.add(Conv2d({.in = channels, .out = out, .kernel = 3, .padding = 1, .bias = !options.batch_norm}, where));
      if (options.batch_norm) net.add(BatchNorm2d({.features = out}, where));
      net.add(ReLU());
      channels = out;
    }
    if (side >= 2) {
      net.add(MaxPool2d());
      side /= 2;
    }
  }
  const std::int64_t hidden = 64 * options.width;
  net.add(Flatten());
  std::int64_t in = elements_of({channels, side, side}, "vgg16", where);
  for (int i = 0; i < 2; ++i) {
    net.add(Linear({.in = in, .out = hidden}, where)).add(ReLU());
    if (options.dropout > 0) net.add(Dropout({.p = options.dropout}, where));
    in = hidden;
  }
  net.add(Linear({.in = hidden, .out = options.classes}, where));
  return net;
}

NamedModel vgg16_model() {
  return {.name = "vgg16",
          .summary = "thirteen 3x3 convolutions in five stages, three linear layers",
          .options = {NamedOption::whole("width", 64, 1, 1 << 20, "channels of the first stage"),
                      NamedOption::number("dropout", 0.5, 0, 0.99, "probability"),
                      NamedOption::flag("batch-norm", "normalise after each convolution")},
          .make = [](const NamedValues& values, const Examples& examples, SourceLocation where) {
            return vgg16({.channels = examples.shape[0],
                          .image = examples.shape[1],
                          .classes = examples.classes,
                          .width = values.whole("width"),
                          .batch_norm = values.flag("batch-norm"),
                          .dropout = values.number("dropout")},
                         where);
          }};
}

}  // namespace tidemark::nn
