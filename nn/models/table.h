// The table of models: every line of models.def. A model's file defines `<name>_model()`.
#pragma once

#include <cstdint>
#include <string>

#include "tidemark/models.h"

namespace tidemark::nn {

#define TIDEMARK_MODEL(name) NamedModel name##_model();
#include "nn/models/models.def"
#undef TIDEMARK_MODEL

// Throws ShapeError unless it holds: "[nn::mlp] message (at file:line)".
void require(bool holds, const char* model, const std::string& message, SourceLocation where);

// Of a value of this shape. Throws ShapeError likewise where there are more than a value can have.
std::int64_t elements_of(const Shape& shape, const char* model, SourceLocation where);

}  // namespace tidemark::nn
