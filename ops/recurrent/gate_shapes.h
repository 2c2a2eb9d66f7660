// What the gates of all recurrent steps ask of their operands.
#pragma once

#include <span>
#include <string>

#include "ops/kernels.h"

namespace tidemark::ops {

// products [N, 4 H], and the state before [N, H].
inline void require_gates(const Prep& prep, std::span<const Meta> in, const std::string& state) {
  require_f32(prep, "products", in[0]);
  require_f32(prep, state, in[1]);
  const Shape& products = in[0].shape;
  const Shape& before = in[1].shape;
  prep.require(
      products.rank() == 2 && before.rank() == 2 && products[0] == before[0] && products[1] == 4 * before[1],
      "products " + products.to_string() + " and " + state + " " + before.to_string() + " must be [N, 4 H] and [N, H]");
}

}  // namespace tidemark::ops
