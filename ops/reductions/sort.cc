// sort, argsort and topk. An element's key holds its value and its index, so that all keys differ and the order is
// stable.
#include <array>
#include <utility>
#include <vector>

#include "ops/kernels.h"
#include "ops/reductions/select.h"
#include "ops/table.h"
#include "tidemark/ops/reductions.h"

namespace tidemark {
namespace ops {
namespace {

// Sorts keys that come in the order of their indices; the result is in one of the two arrays. By the bytes of their
// upper halves, the lowest first, which keeps the order of equal ones.
std::uint64_t* sort_keys(std::int64_t n, std::uint64_t* keys, std::uint64_t* other) {
  constexpr std::int64_t kFew = 256;  // a comparing sort is faster
  if (n <= kFew) {
    std::sort(keys, keys + n);
    return keys;
  }
  constexpr int kBytes = 4;
  std::array<std::array<std::uint32_t, 256>, kBytes> counts{};
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::size_t byte = 0; byte < kBytes; ++byte) ++counts[byte][(keys[i] >> (32 + 8 * byte)) & 0xFF];
  }
  for (std::size_t byte = 0; byte < kBytes; ++byte) {
    const std::size_t shift = 32 + 8 * byte;
    if (counts[byte][(keys[0] >> shift) & 0xFF] == n) continue;  // all have the same
    std::uint32_t before = 0;
    for (std::uint32_t& count : counts[byte]) before += std::exchange(count, before);
    for (std::int64_t i = 0; i < n; ++i) other[counts[byte][(keys[i] >> shift) & 0xFF]++] = keys[i];
    std::swap(keys, other);
  }
  return keys;
}

// The lines of one dimension and who sorts them.
struct SortState {
  Lines lines;
  std::int64_t members;
  std::int64_t keys;  // of one member
};

std::shared_ptr<SortState> sort_state(const Prep& prep, const Meta& x, int dim) {
  require_f32(prep, "x", x);
  const Lines lines(x.shape, dim_of(prep, x, dim));
  require_indexable(prep, x, lines.size);
  return std::make_shared<SortState>(SortState{lines, members_for(prep, lines), 0});
}

std::int64_t scratch_of(const SortState& state) {
  return state.members * state.keys * static_cast<std::int64_t>(sizeof(std::uint64_t));
}

// `values` may be null.
void sort_lines(const Ctx& ctx, const SortState& state, bool descending, const float* x, float* values,
                std::int32_t* indices) {
  const auto [outer, size, inner] = state.lines;
  for_lines(
      ctx, state.lines, state.members,
      [&, size = size, inner = inner](std::int64_t member, std::int64_t at, std::int64_t first, std::int64_t count) {
        std::uint64_t* keys = ctx.scratch<std::uint64_t>() + member * state.keys;
        std::uint64_t* other = keys + count * size;
        const std::int64_t base = at * size * inner + first;
        for (std::int64_t i = 0; i < size; ++i) {
          for (std::int64_t j = 0; j < count; ++j) {
            keys[j * size + i] = order_key(x[base + i * inner + j], i, descending);
          }
        }
        // Each line's result is brought back to where its keys were, so that rows are written whole.
        for (std::int64_t j = 0; j < count; ++j) {
          std::uint64_t* line = keys + j * size;
          const std::uint64_t* sorted = sort_keys(size, line, other);
          if (sorted != line) std::copy_n(sorted, size, line);
        }
        for (std::int64_t i = 0; i < size; ++i) {
          for (std::int64_t j = 0; j < count; ++j) {
            const std::int32_t index = index_of(keys[j * size + i]);
            const std::int64_t to = base + i * inner + j;
            indices[to] = index;
            if (values != nullptr) values[to] = x[base + index * inner + j];
          }
        }
      });
}

std::shared_ptr<SortState> full_sort(const Prep& prep, const Meta& x, int dim) {
  auto state = sort_state(prep, x, dim);
  state->keys = (std::min(kLinesAtOnce, state->lines.inner) + 1) * state->lines.size;
  return state;
}

Work sort_work(const Meta& x) {
  const double n = as_double(x.shape.numel());
  return {40 * n, 80 * n};
}

struct Sort {
  static constexpr std::string_view name = "sort";
  int dim = -1;
  bool descending = false;

  void describe(Attributes& a) const {
    a("dim", dim);
    a("descending", descending);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    auto state = full_sort(prep, in[0], dim);
    Prepared out;
    out.outputs = {Meta::plain(in[0].shape), Meta::plain(in[0].shape, i32)};
    out.input_layouts = {kPlain};
    out.scratch = scratch_of(*state);
    out.work = sort_work(in[0]);
    if (needs[0]) out.parts.push_back(selection_part(in[0], out.outputs[0]));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    sort_lines(ctx, ctx.state<SortState>(), descending, in[0].as<>(), out[0].as<>(), out[1].as<std::int32_t>());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Lines& lines = ctx.state<SortState>().lines;
    scatter_selected(ctx, lines, lines.size, saved[0].as<std::int32_t>(), gy[0].as<>(), gx[0].as<>());
  }

  static std::vector<Sample> samples() {
    // Lines with a gradient are short: in long ones finite differences change the order.
    const auto fixed = [](const Shape& shape) { return SampleInput{shape, f32, SampleInput::Fill::kNormal, 0, false}; };
    return {{"last", {{{25, 3}}}, any_op(Sort{})},
            {"middle", {{{2, 3, 21}}}, any_op(Sort{1, true})},
            {"first", {{{2, 30}}}, any_op(Sort{0}), {false}},
            {"columns", {fixed({2, 9, 21})}, any_op(Sort{1})},
            {"long", {fixed({2, 9000})}, any_op(Sort{-1, true})},
            {"number", {{Shape{}}}, any_op(Sort{}), {false}}};
  }
};

struct Argsort {
  static constexpr std::string_view name = "argsort";
  int dim = -1;
  bool descending = false;

  void describe(Attributes& a) const {
    a("dim", dim);
    a("descending", descending);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    auto state = full_sort(prep, in[0], dim);
    Prepared out;
    out.outputs = {Meta::plain(in[0].shape, i32)};
    out.input_layouts = {kPlain};
    out.scratch = scratch_of(*state);
    out.work = sort_work(in[0]);
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    sort_lines(ctx, ctx.state<SortState>(), descending, in[0].as<>(), nullptr, out[0].as<std::int32_t>());
  }

  static std::vector<Sample> samples() {
    const auto of = [](const Shape& shape) { return SampleInput{shape, f32, SampleInput::Fill::kNormal, 0, false}; };
    return {{"last", {of({3, 45})}, any_op(Argsort{})}, {"middle", {of({2, 9, 21})}, any_op(Argsort{1, true})}};
  }
};

// The first k keys of those that are offered: the buffer is cut down to them where it is full, and what comes behind
// the last of them then need not enter it.
class FirstKeys {
 public:
  FirstKeys(std::int64_t k, std::uint64_t* buffer, std::int64_t capacity)
      : k_(k), buffer_(buffer), capacity_(capacity) {}

  void offer(std::uint64_t key) {
    if (key >= limit_) return;
    buffer_[count_++] = key;
    if (count_ == capacity_) cut();
  }
  // In order.
  const std::uint64_t* finish() {
    if (count_ > k_) cut();
    std::sort(buffer_, buffer_ + count_);
    return buffer_;
  }

 private:
  void cut() {
    std::nth_element(buffer_, buffer_ + k_ - 1, buffer_ + count_);
    count_ = k_;
    limit_ = buffer_[k_ - 1];
  }

  std::int64_t k_;
  std::uint64_t* buffer_;
  std::int64_t capacity_;
  std::int64_t count_ = 0;
  std::uint64_t limit_ = ~std::uint64_t{0};
};

struct Topk {
  static constexpr std::string_view name = "topk";
  std::int64_t k = 1;
  int dim = -1;
  bool largest = true;

  void describe(Attributes& a) const {
    a("k", k);
    a("dim", dim);
    a("largest", largest);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    auto state = sort_state(prep, x, dim);
    const std::int64_t size = state->lines.size;
    prep.require(k >= 0 && k <= size, ops::describe("x", x) + "; k is " + std::to_string(k) + ", and must be 0 to " +
                                          std::to_string(size) + ", the size of dimension " + std::to_string(dim));
    state->keys = std::min(kLinesAtOnce, state->lines.inner) * capacity();
    const Shape shape = x.shape.rank() == 0 ? x.shape : x.shape.with(dim_of(prep, x, dim), k);
    prep.require(x.shape.rank() > 0 || k == 1, ops::describe("x", x) + "; k must be 1 for a number");
    const double n = as_double(x.shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(shape), Meta::plain(shape, i32)};
    out.input_layouts = {kPlain};
    out.scratch = scratch_of(*state);
    out.work = {8 * n, 4 * n + 24 * as_double(shape.numel())};
    if (needs[0]) out.parts.push_back(selection_part(x, out.outputs[0]));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    if (k == 0) return;
    const auto& state = ctx.state<SortState>();
    const std::int64_t size = state.lines.size;
    const std::int64_t inner = state.lines.inner;
    const float* x = in[0].as<>();
    for_lines(ctx, state.lines, state.members,
              [&](std::int64_t member, std::int64_t at, std::int64_t first, std::int64_t count) {
                std::uint64_t* buffers = ctx.scratch<std::uint64_t>() + member * state.keys;
                std::array<FirstKeys, kLinesAtOnce> found = make(buffers, std::make_index_sequence<kLinesAtOnce>());
                const float* from = x + at * size * inner + first;
                for (std::int64_t i = 0; i < size; ++i) {
                  for (std::int64_t j = 0; j < count; ++j) {
                    found[static_cast<std::size_t>(j)].offer(order_key(from[i * inner + j], i, largest));
                  }
                }
                for (std::int64_t j = 0; j < count; ++j) {
                  const std::uint64_t* keys = found[static_cast<std::size_t>(j)].finish();
                  for (std::int64_t i = 0; i < k; ++i) {
                    const std::int32_t index = index_of(keys[i]);
                    const std::int64_t to = (at * k + i) * inner + first + j;
                    out[0].as<>()[to] = from[index * inner + j];
                    out[1].as<std::int32_t>()[to] = index;
                  }
                }
              });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    scatter_selected(ctx, ctx.state<SortState>().lines, k, saved[0].as<std::int32_t>(), gy[0].as<>(), gx[0].as<>());
  }

  static std::vector<Sample> samples() {
    return {{"last", {{{3, 45}}}, any_op(Topk{4})},
            {"middle", {{{2, 3, 21}}}, any_op(Topk{2, 1, false})},
            {"first", {{{35, 3}}}, any_op(Topk{2, 0}), {false}},
            {"long", {{{2, 9000}}}, any_op(Topk{100, -1, false})}};
  }

 private:
  std::int64_t capacity() const { return 2 * k + 64; }

  template <std::size_t... line>
  std::array<FirstKeys, kLinesAtOnce> make(std::uint64_t* buffers, std::index_sequence<line...>) const {
    return {FirstKeys(k, buffers + static_cast<std::int64_t>(line) * capacity(), capacity())...};
  }
};

std::pair<Tensor, Tensor> values_and_indices(const std::shared_ptr<const AnyOp>& op, const Tensor& x,
                                             SourceLocation where) {
  std::vector<Tensor> out = apply_all(op, {&x, 1}, where);
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace

std::vector<Sample> sort_samples() { return Sort::samples(); }
std::vector<Sample> argsort_samples() { return Argsort::samples(); }
std::vector<Sample> topk_samples() { return Topk::samples(); }

}  // namespace ops

std::pair<Tensor, Tensor> sort(const Tensor& x, int dim, const SortOptions& options, SourceLocation where) {
  return ops::values_and_indices(any_op(ops::Sort{dim, options.descending}), x, where);
}
Tensor argsort(const Tensor& x, int dim, const SortOptions& options, SourceLocation where) {
  return apply(ops::Argsort{dim, options.descending}, {x}, where);
}
std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int dim, const TopkOptions& options,
                               SourceLocation where) {
  return ops::values_and_indices(any_op(ops::Topk{k, dim, options.largest}), x, where);
}

}  // namespace tidemark
