#include "ops/shapes/slabs.h"

#include "ops/sums.h"

namespace tidemark::ops {
namespace {

constexpr std::int64_t kLeastStrip = 64;
constexpr std::int64_t kMostStrip = 512;

// Entries by the slab that they name, those of each in their order: entries[starts[i]] to entries[starts[i + 1] - 1]
// name slab i.
struct Entries {
  std::uint32_t* starts;
  std::uint32_t* entries;
};

Entries sort_entries(const std::int32_t* index, std::int64_t count, std::int64_t size, std::uint32_t* scratch) {
  const Entries out = {scratch, scratch + size + 1};
  std::fill_n(out.starts, size + 1, 0u);
  for (std::int64_t i = 0; i < count; ++i) ++out.starts[index[i]];
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i <= size; ++i) out.starts[i] = sum += out.starts[i];
  // From the last one on, each goes before those that came: the ends become starts.
  for (std::int64_t i = count; i-- > 0;) out.entries[--out.starts[index[i]]] = static_cast<std::uint32_t>(i);
  return out;
}

void add_row(std::int64_t width, const float* from, float* to) {
  for (std::int64_t j = 0; j < width; ++j) to[j] += from[j];
}

// to += rows of `values` that entries [begin, end) have, `step` floats apart.
void add_slabs(const std::uint32_t* begin, const std::uint32_t* end, std::int64_t width, const float* values,
               std::int64_t step, float* to) {
  if (end - begin <= kSumRows) {
    for (const std::uint32_t* entry = begin; entry < end; ++entry) add_row(width, values + *entry * step, to);
    return;
  }
  double totals[kMostStrip];
  std::fill_n(totals, width, 0.0);
  while (begin < end) {
    float sums[kMostStrip];
    std::fill_n(sums, width, 0.0f);
    const std::uint32_t* const last = begin + std::min<std::ptrdiff_t>(kSumRows, end - begin);
    for (; begin < last; ++begin) add_row(width, values + *begin * step, sums);
    add_sums(width, sums, totals);
  }
  for (std::int64_t j = 0; j < width; ++j) to[j] = static_cast<float>(static_cast<double>(to[j]) + totals[j]);
}

}  // namespace

Slabs::Slabs(const Shape& x, int dim, std::int64_t count, int threads) : x_(x, dim), count_(count) {
  // Columns are shared out where there are enough of them, which serves entries that all name one slab too.
  const std::int64_t columns = (x_.outer * x_.inner + threads - 1) / threads;
  strip_ = std::clamp(round_up(columns, kLeastStrip), kLeastStrip, kMostStrip);
  ranges_ = x_.outer * strips() < threads ? threads : 1;
}

void Slabs::pick(const Ctx& ctx, const std::int32_t* index, std::int64_t element_bytes, const void* from,
                 void* to) const {
  const std::int64_t width = x_.inner * element_bytes;
  for_range(ctx, x_.outer * count_, 2 * width, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t outer = begin / count_;
    std::int64_t entry = begin % count_;
    for (std::int64_t slab = begin; slab < end; ++slab) {
      const std::int64_t at = outer * x_.size + index[entry];
      std::copy_n(static_cast<const char*>(from) + at * width, width, static_cast<char*>(to) + slab * width);
      if (++entry == count_) {
        entry = 0;
        ++outer;
      }
    }
  });
}

std::int64_t Slabs::add_scratch() const {
  return (x_.size + 1 + count_) * static_cast<std::int64_t>(sizeof(std::uint32_t));
}

void Slabs::add(const Ctx& ctx, const std::int32_t* index, const float* values, const float* base, float* to) const {
  const Entries sorted = sort_entries(index, count_, x_.size, ctx.scratch<std::uint32_t>());
  // Parts of equal work: each slab counts for itself and for its entries.
  const auto boundary = [&](std::int64_t range) {
    const std::int64_t work = (x_.size + count_) * range / ranges_;
    std::int64_t low = 0;
    for (std::int64_t high = x_.size; low < high;) {
      const std::int64_t middle = low + (high - low) / 2;
      if (middle + sorted.starts[middle] < work) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  const std::int64_t items = x_.outer * strips() * ranges_;
  const std::int64_t bytes = 4 * x_.outer * x_.inner * (x_.size + 2 * count_);
  for_range(ctx, items, bytes / std::max<std::int64_t>(items, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t outer = item / ranges_ / strips();
      const std::int64_t column = item / ranges_ % strips() * strip_;
      const std::int64_t width = std::min(strip_, x_.inner - column);
      const float* from = values + outer * count_ * x_.inner + column;
      const std::int64_t last = boundary(item % ranges_ + 1);
      for (std::int64_t slab = boundary(item % ranges_); slab < last; ++slab) {
        const std::int64_t at = outer * x_.row() + slab * x_.inner + column;
        if (base == nullptr) {
          std::fill_n(to + at, width, 0.0f);
        } else if (base != to) {
          std::copy_n(base + at, width, to + at);
        }
        add_slabs(sorted.entries + sorted.starts[slab], sorted.entries + sorted.starts[slab + 1], width, from, x_.inner,
                  to + at);
      }
    }
  });
}

}  // namespace tidemark::ops
