#include "nn/models/table.h"

namespace tidemark::nn {

const std::vector<NamedModel>& models() {
  static const std::vector<NamedModel> kModels = {
#define TIDEMARK_MODEL(name) name##_model(),
#include "nn/models/models.def"
#undef TIDEMARK_MODEL
  };
  return kModels;
}

Sequential make_model(std::string_view name, const Examples& examples, const NamedValues::Given& given,
                      SourceLocation where) {
  const NamedModel& model = find_named(models(), "model", name, where);
  return model.make(NamedValues(model.options, given, where), examples, where);
}

void require(bool holds, const char* model, const std::string& message, SourceLocation where) {
  if (!holds) throw ShapeError(std::string("[nn::") + model + "] " + message + " (at " + to_string(where) + ")");
}

std::int64_t elements_of(const Shape& shape, const char* model, SourceLocation where) {
  try {
    return shape.numel();
  } catch (const ShapeError& error) {
    require(false, model, error.what(), where);
    throw;
  }
}

}  // namespace tidemark::nn
