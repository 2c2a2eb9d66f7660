#include "ops/reductions/select.h"

#include <limits>
#include <string>

namespace tidemark::ops {

void require_indexable(const Prep& prep, const Meta& x, std::int64_t size) {
  prep.require(size <= std::numeric_limits<std::int32_t>::max(),
               describe("x", x) + "; indices are i32, which must hold " + std::to_string(size));
}

Part selection_part(const Meta& x, const Meta& values) {
  Part part;
  part.inputs = {0};
  part.gx = {Meta::plain(x.shape)};
  part.saved = {Saved::output(1, kPlain)};
  part.gy = {{0, kPlain}};
  part.work = {0, 4 * as_double(x.shape.numel()) + 12 * as_double(values.shape.numel())};
  return part;
}

void scatter_selected(const Ctx& ctx, const Lines& lines, std::int64_t k, const std::int32_t* indices, const float* gy,
                      float* gx) {
  const std::int64_t inner = lines.inner;
  // Where all are taken, each element is written anyway.
  const bool partial = k < lines.size;
  if (inner == 1) {
    for_range(ctx, lines.outer, 4 * lines.size + 8 * k, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t line = begin; line < end; ++line) {
        float* to = gx + line * lines.size;
        if (partial) std::fill_n(to, lines.size, 0.0f);
        for (std::int64_t i = line * k; i < (line + 1) * k; ++i) to[indices[i]] = gy[i];
      }
    });
    return;
  }
  constexpr std::int64_t kColumns = 256;
  const std::int64_t blocks = (inner + kColumns - 1) / kColumns;
  for_range(ctx, lines.outer * blocks, 4 * lines.size * std::min(inner, kColumns),
            [&](std::int64_t begin, std::int64_t end) {
              for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t first = item % blocks * kColumns;
                const std::int64_t count = std::min(kColumns, inner - first);
                float* to = gx + item / blocks * lines.size * inner + first;
                if (partial) {
                  for (std::int64_t row = 0; row < lines.size; ++row) std::fill_n(to + row * inner, count, 0.0f);
                }
                for (std::int64_t i = 0; i < k; ++i) {
                  const std::int64_t from = (item / blocks * k + i) * inner + first;
                  for (std::int64_t j = 0; j < count; ++j) to[indices[from + j] * inner + j] = gy[from + j];
                }
              }
            });
}

}  // namespace tidemark::ops
