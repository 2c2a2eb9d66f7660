#include "ops/broadcast.h"

#include "ops/sums.h"

namespace tidemark::ops {
namespace {

// The size of dimension i of `shape` when it is brought to `rank` dimensions with ones in front.
std::int64_t size_at(const Shape& shape, int i, int rank) {
  const int own = i - (rank - shape.rank());
  return own < 0 ? 1 : shape[own];
}

// Strides of `shape` broadcast to `rank` dimensions: 0 where a size is 1.
std::vector<std::int64_t> strides_of(const Shape& shape, int rank) {
  std::vector<std::int64_t> strides(static_cast<std::size_t>(rank), 0);
  std::int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const std::int64_t size = size_at(shape, i, rank);
    if (size != 1) strides[static_cast<std::size_t>(i)] = stride;
    stride *= size;
  }
  return strides;
}

struct GroupedDim {
  WalkDim dim;
  bool kept;
};

// Neighbouring dimensions that are stepped through evenly become one; those of size 1 vanish. A dimension is kept where
// `to` has it.
std::vector<GroupedDim> collapse(const Shape& shape, const Shape& a, const Shape& b, const Shape& to) {
  const int rank = shape.rank();
  const auto whole_strides = strides_of(shape, rank);
  const auto a_strides = strides_of(a, rank);
  const auto b_strides = strides_of(b, rank);
  std::vector<GroupedDim> out;
  for (int i = 0; i < rank; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const WalkDim dim{shape[i], whole_strides[at], a_strides[at], b_strides[at]};
    const bool kept = size_at(to, i, rank) != 1;
    if (dim.size == 1) continue;
    if (!out.empty()) {
      auto& [last, last_kept] = out.back();
      if (last_kept == kept && last.whole == dim.whole * dim.size && last.a == dim.a * dim.size &&
          last.b == dim.b * dim.size) {
        last = {last.size * dim.size, dim.whole, dim.a, dim.b};
        continue;
      }
    }
    out.push_back({dim, kept});
  }
  return out;
}

// Where row `index` of the outer dimensions begins.
WalkDim offsets(const std::vector<WalkDim>& dims, std::int64_t index) {
  WalkDim out{1, 0, 0, 0};
  for (std::size_t i = dims.size(); i-- > 0;) {
    const std::int64_t at = index % dims[i].size;
    index /= dims[i].size;
    out.whole += at * dims[i].whole;
    out.a += at * dims[i].a;
    out.b += at * dims[i].b;
  }
  return out;
}

// The part of an operand that a row of the inner dimension reads from element `at` on.
Row row_of(const float* operand, std::int64_t offset, std::int64_t stride, std::int64_t at) {
  return {operand == nullptr ? nullptr : operand + offset + at * stride, stride == 0};
}

constexpr std::int64_t kChunk = std::int64_t{32} * 1024;  // floats that are summed as one
constexpr std::int64_t kColumns = 1024;                   // sums that are kept in the cache together
constexpr std::int64_t kChunkRows = 32;
constexpr std::int64_t kMostChunks = 64;
constexpr std::int64_t kManyOutputs = 16;  // enough to share out without chunks

}  // namespace

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<std::int64_t> dims;
  for (int i = 0; i < rank; ++i) {
    const std::int64_t x = size_at(a, i, rank);
    const std::int64_t y = size_at(b, i, rank);
    if (x != y && x != 1 && y != 1) return {};
    dims.push_back(x == 1 ? y : x);
  }
  return Shape(dims);
}

RowWalk::RowWalk(const Shape& shape, const Shape& a, const Shape& b) : count_(shape.numel()) {
  for (const GroupedDim& group : collapse(shape, a, b, shape)) outer_.push_back(group.dim);
  if (outer_.empty()) return;
  inner_ = outer_.back();
  outer_.pop_back();
}

WalkDim RowWalk::start(std::int64_t row) const { return offsets(outer_, row); }

Reduction::Reduction(const Shape& from, const Shape& to, const Shape& a, const Shape& b) {
  std::vector<GroupedDim> groups = collapse(from, a, b, to);
  if (!groups.empty()) {
    inner_ = groups.back().dim;
    inner_kept_ = groups.back().kept;
    groups.pop_back();
  }
  for (const GroupedDim& group : groups) {
    (group.kept ? kept_ : reduced_).push_back(group.dim);
    (group.kept ? outputs_ : rows_) *= group.dim.size;
  }
  chunk_rows_ = rows_;
  chunk_width_ = inner_.size;
  if (inner_kept_) {
    if (outputs_ < kManyOutputs && rows_ > kChunkRows) {
      chunk_rows_ = std::max(kChunkRows, (rows_ + kMostChunks - 1) / kMostChunks);
      chunks_ = (rows_ + chunk_rows_ - 1) / chunk_rows_;
    }
  } else if (inner_.size > kChunk) {
    chunk_rows_ = 1;
    chunk_width_ = kChunk;
    chunks_ = rows_ * ((inner_.size + kChunk - 1) / kChunk);
  } else if (inner_.size > 0) {
    chunk_rows_ = std::max<std::int64_t>(1, kChunk / inner_.size);
    chunks_ = (rows_ + chunk_rows_ - 1) / chunk_rows_;
  }
}

std::int64_t Reduction::scratch() const { return chunks_ <= 1 ? 0 : outputs_ * chunks_ * width() * size_of(f32); }

// Items: an output, a chunk of its rows, a block of columns.
void Reduction::sum_columns(const Ctx& ctx, const SlopeKernels& slope, const float* g, const float* a, const float* b,
                            float* partial) const {
  const std::int64_t blocks = (width() + kColumns - 1) / kColumns;
  const WalkDim even = reduced_.empty() ? WalkDim() : reduced_.back();  // rows that follow in equal steps
  const std::int64_t bytes = 4 * chunk_rows_ * std::min(width(), kColumns);
  for_range(ctx, outputs_ * chunks_ * blocks, bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t column = item % blocks * kColumns;
      const std::int64_t chunk = item / blocks % chunks_;
      const std::int64_t output = item / blocks / chunks_;
      const std::int64_t count = std::min(kColumns, width() - column);
      float* sums = partial + (output * chunks_ + chunk) * width() + column;
      double totals[kColumns];
      std::fill_n(totals, count, 0.0);
      const WalkDim base = offsets(kept_, output);
      const std::int64_t last = std::min(rows_, (chunk + 1) * chunk_rows_);
      for (std::int64_t row = chunk * chunk_rows_; row < last;) {
        std::fill_n(sums, count, 0.0f);
        for (const std::int64_t stop = std::min(last, row + kSumRows); row < stop;) {
          const WalkDim at = offsets(reduced_, row);
          const std::int64_t rows = std::min(stop - row, even.size - row % even.size);
          slope.accumulate(rows, count, {{g + base.whole + at.whole + column}, even.whole},
                           {row_of(a, base.a + at.a, inner_.a, column), even.a},
                           {row_of(b, base.b + at.b, inner_.b, column), even.b}, sums);
          row += rows;
        }
        add_sums(count, sums, totals);
      }
      std::transform(totals, totals + count, sums, [](double total) { return static_cast<float>(total); });
    }
  });
}

// Items: an output, a chunk of its rows or of its one row.
void Reduction::sum_rows(const Ctx& ctx, const SlopeKernels& slope, const float* g, const float* a, const float* b,
                         float* partial) const {
  const std::int64_t pieces = inner_.size > chunk_width_ ? chunks_ / std::max<std::int64_t>(1, rows_) : 1;
  for_range(ctx, outputs_ * chunks_, 4 * chunk_rows_ * chunk_width_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t chunk = item % chunks_;
      const WalkDim base = offsets(kept_, item / chunks_);
      const std::int64_t column = chunk % pieces * chunk_width_;
      const std::int64_t count = std::min(chunk_width_, inner_.size - column);
      const std::int64_t first = chunk / pieces * chunk_rows_;
      const std::int64_t last = std::min(rows_, first + chunk_rows_);
      double sum = 0;
      for (std::int64_t row = first; row < last; ++row) {
        const WalkDim at = offsets(reduced_, row);
        sum += slope.sum(count, g + base.whole + at.whole + column, row_of(a, base.a + at.a, inner_.a, column),
                         row_of(b, base.b + at.b, inner_.b, column));
      }
      partial[item] = static_cast<float>(sum);
    }
  });
}

void Reduction::run(const Ctx& ctx, const SlopeKernels& slope, const float* g, const float* a, const float* b,
                    float scale, float* out) const {
  float* partial = chunks_ > 1 ? ctx.scratch<float>() : out;
  if (inner_kept_) {
    sum_columns(ctx, slope, g, a, b, partial);
  } else {
    sum_rows(ctx, slope, g, a, b, partial);
  }
  if (chunks_ == 1 && scale == 1.0f) return;
  for_elements(ctx, outputs_ * width(), 4 * chunks_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* from = partial + i / width() * chunks_ * width() + i % width();
      double sum = 0;
      for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) sum += static_cast<double>(from[chunk * width()]);
      out[i] = static_cast<float>(static_cast<double>(scale) * sum);
    }
  });
}

}  // namespace tidemark::ops
