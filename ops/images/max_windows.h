// max_pool2d where its windows have gaps.
#pragma once

#include "tidemark/ops/images.h"

namespace tidemark::ops {

Tensor max_of_windows(const Tensor& x, const MaxPool2dOptions& options, SourceLocation where);

}  // namespace tidemark::ops
