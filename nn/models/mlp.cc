#include "nn/models/table.h"

namespace tidemark::nn {

Sequential mlp(const MlpOptions& options, SourceLocation where) {
  require(options.sizes.size() >= 2, "mlp", ".sizes must name at least the inputs and the outputs", where);
  Sequential net(Flatten{});
  for (std::size_t i = 0; i + 1 < options.sizes.size(); ++i) {
    if (i > 0) net.add(ReLU());
    net.add(Linear({.in = options.sizes[i], .out = options.sizes[i + 1]}, where));
  }
  return net;
}

NamedModel mlp_model() {
  return {.name = "mlp",
          .summary = "linear layers with ReLU between them",
          .options = {NamedOption::whole("width", 256, 1, 1 << 20, "hidden units of a layer"),
                      NamedOption::whole("layers", 2, 1, 10000, "hidden layers")},
          .make = [](const NamedValues& values, const Examples& examples, SourceLocation where) {
            std::vector<std::int64_t> sizes{examples.shape.numel()};
            sizes.insert(sizes.end(), static_cast<std::size_t>(values.whole("layers")), values.whole("width"));
            sizes.push_back(examples.classes);
            return mlp({.sizes = sizes}, where);
          }};
}

}  // namespace tidemark::nn
