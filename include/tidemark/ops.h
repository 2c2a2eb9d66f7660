// The ops, a header a family. Shapes are named N (batch), C (channels), H, W, T (time), D (features). All are f32
// unless said otherwise. Wrong shapes throw ShapeError naming both shapes and the caller's line.
#pragma once

#include "tidemark/ops/attention.h"
#include "tidemark/ops/embedding.h"
#include "tidemark/ops/images.h"
#include "tidemark/ops/losses.h"
#include "tidemark/ops/norms.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/products.h"
#include "tidemark/ops/recurrent.h"
#include "tidemark/ops/reductions.h"
#include "tidemark/ops/shapes.h"
