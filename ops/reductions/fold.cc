#include "ops/reductions/fold.h"

namespace tidemark::ops {
namespace {

constexpr std::int64_t kChunk = std::int64_t{32} * 1024;  // elements
constexpr std::int64_t kChunkRows = 32;
constexpr std::int64_t kMostChunks = 64;
constexpr std::int64_t kManyBlocks = 16;  // enough to share out without chunks

}  // namespace

Fold::Fold(const Shape& shape, const Dims& dims) {
  // Neighbouring dimensions that are both kept, or both reduced, are one.
  struct Group {
    Dim dim;
    bool kept;
  };
  std::vector<Group> groups;  // innermost first
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    const bool kept = !dims.has(i);
    const std::int64_t size = shape[i];
    if (size == 1) continue;
    if (!groups.empty() && groups.back().kept == kept) {
      groups.back().dim.size *= size;
    } else {
      groups.push_back({{size, step}, kept});
    }
    step *= size;
  }
  if (!groups.empty()) {
    inner_ = groups.front().dim.size;
    inner_kept_ = groups.front().kept;
  }
  for (std::size_t i = groups.size(); i-- > 1;) {
    (groups[i].kept ? kept_ : reduced_).push_back(groups[i].dim);
    (groups[i].kept ? outputs_ : rows_) *= groups[i].dim.size;
  }
  chunk_rows_ = std::max<std::int64_t>(1, rows_);
  chunk_width_ = inner_;
  if (inner_kept_) {
    if (outputs_ * blocks() < kManyBlocks && rows_ > kChunkRows) {
      chunk_rows_ = std::max(kChunkRows, (rows_ + kMostChunks - 1) / kMostChunks);
      chunks_ = (rows_ + chunk_rows_ - 1) / chunk_rows_;
    }
  } else if (inner_ > kChunk) {
    chunk_rows_ = 1;
    chunk_width_ = kChunk;
    chunks_ = std::max<std::int64_t>(1, rows_ * ((inner_ + kChunk - 1) / kChunk));
  } else if (inner_ > 0 && rows_ > 0) {
    chunk_rows_ = std::max<std::int64_t>(1, kChunk / inner_);
    chunks_ = (rows_ + chunk_rows_ - 1) / chunk_rows_;
  }
}

std::int64_t Fold::scratch(int slots) const {
  if (chunks_ == 1) return 0;
  return outputs_ * blocks() * chunks_ * slots * std::min(kFoldColumns, width()) *
         static_cast<std::int64_t>(sizeof(double));
}

std::int64_t Fold::offset(const std::vector<Dim>& dims, std::int64_t index) {
  std::int64_t out = 0;
  for (std::size_t i = dims.size(); i-- > 0;) {
    out += index % dims[i].size * dims[i].step;
    index /= dims[i].size;
  }
  return out;
}

void Fold::fold(const FoldKernels& kernels, const FoldInput& input, std::int64_t block, std::int64_t chunk,
                double* states) const {
  const std::int64_t count = count_of(block);
  std::fill_n(states, kernels.slots * count, kernels.start);
  const std::int64_t base = offset(kept_, block / blocks()) + block % blocks() * kFoldColumns;
  const float* aux = input.aux == nullptr ? nullptr : input.aux + first_of(block);
  const auto at = [&](std::int64_t i) {
    return static_cast<const void*>(static_cast<const std::byte*>(input.x) + i * input.element);
  };
  if (inner_kept_) {
    const Dim even = reduced_.empty() ? Dim{1, 0} : reduced_.back();  // rows that follow in equal steps
    const std::int64_t last = std::min(rows_, (chunk + 1) * chunk_rows_);
    for (std::int64_t row = chunk * chunk_rows_; row < last;) {
      const std::int64_t rows = std::min(last - row, even.size - row % even.size);
      kernels.columns(rows, count, at(base + offset(reduced_, row)), even.step, aux, input.p, states);
      row += rows;
    }
    return;
  }
  const std::int64_t pieces = inner_ > chunk_width_ ? (inner_ + chunk_width_ - 1) / chunk_width_ : 1;
  const std::int64_t column = chunk % pieces * chunk_width_;
  const std::int64_t n = std::min(chunk_width_, inner_ - column);
  const std::int64_t first = chunk / pieces * chunk_rows_;
  const std::int64_t last = std::min(rows_, first + chunk_rows_);
  for (std::int64_t row = first; row < last; ++row) {
    kernels.row(n, at(base + offset(reduced_, row) + column), aux, input.p, states);
  }
}

Prepared prepare_fold(const Fold& fold, const Meta& x, const Dims& dims, bool keepdim, const Work& work) {
  Prepared out;
  out.outputs = {Meta::plain(reduced_shape(x.shape, dims, keepdim))};
  out.input_layouts = {kPlain};
  out.scratch = fold.scratch(1);
  out.work = work;
  out.state = std::make_shared<FoldState>(FoldState{fold, ones_shape(x.shape, dims)});
  return out;
}

Part fold_gradient(const Meta& x, std::vector<Saved> saved, std::int64_t scratch, const Work& work) {
  Part part;
  part.inputs = {0};
  part.gx = {Meta::plain(x.shape)};
  part.saved = std::move(saved);
  part.gy = {{0, kPlain}};
  part.scratch = scratch;
  part.work = work;
  part.overwrites = {{0, 0}};
  return part;
}

}  // namespace tidemark::ops
