// sort and argsort. An element's key holds its value and its index, so that all keys differ and the order is
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

}  // namespace

std::vector<Sample> sort_samples() { return Sort::samples(); }
std::vector<Sample> argsort_samples() { return Argsort::samples(); }

}  // namespace ops

std::pair<Tensor, Tensor> sort(const Tensor& x, int dim, const SortOptions& options, SourceLocation where) {
  std::vector<Tensor> out = apply_all(any_op(ops::Sort{dim, options.descending}), {&x, 1}, where);
  return {std::move(out[0]), std::move(out[1])};
}
Tensor argsort(const Tensor& x, int dim, const SortOptions& options, SourceLocation where) {
  return apply(ops::Argsort{dim, options.descending}, {x}, where);
}

}  // namespace tidemark
