#include "optim/table.h"

namespace tidemark::optim {

const std::vector<NamedOptimizer>& optimizers() {
  static const std::vector<NamedOptimizer> kOptimizers = {
#define TIDEMARK_OPTIMIZER(name) name##_optimizer(),
#include "optim/optimizers.def"
#undef TIDEMARK_OPTIMIZER
  };
  return kOptimizers;
}

std::unique_ptr<Optimizer> make_optimizer(std::string_view name, const std::vector<Parameter>& parameters,
                                          const NamedValues::Given& given, DType state, SourceLocation where) {
  const NamedOptimizer& optimizer = find_named(optimizers(), "optimizer", name, where);
  return optimizer.make(parameters, NamedValues(optimizer.options, given, where), state, where);
}

}  // namespace tidemark::optim
