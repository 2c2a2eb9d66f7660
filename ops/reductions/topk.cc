// topk: the first of each line in the order of sort, found without sorting the rest.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/topk.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "ops/kernels.h"
#include "ops/reductions/select.h"
#include "ops/simd-inl.h"
#include "ops/table.h"
#include "tidemark/ops/reductions.h"

#ifndef TIDEMARK_OPS_REDUCTIONS_TOPK_SHARED_
#define TIDEMARK_OPS_REDUCTIONS_TOPK_SHARED_
namespace tidemark::ops {

// The first k keys of those that are offered: the buffer is cut down to them where it is full, and what comes behind
// the last of them then need not enter it.
class FirstKeys {
 public:
  FirstKeys(std::int64_t k, std::uint64_t* buffer) : k_(k), buffer_(buffer) {}

  static std::int64_t capacity(std::int64_t k) { return 2 * k + 16; }

  void offer(std::uint64_t key) {
    if (key >= limit_) return;
    buffer_[count_++] = key;
    if (count_ == capacity(k_)) cut();
  }
  // In order.
  const std::uint64_t* finish() {
    if (count_ > k_) cut();
    std::sort(buffer_, buffer_ + count_);
    return buffer_;
  }
  std::uint64_t limit() const { return limit_; }

 private:
  void cut() {
    std::nth_element(buffer_, buffer_ + k_ - 1, buffer_ + count_);
    count_ = k_;
    limit_ = buffer_[k_ - 1];
  }

  std::int64_t k_;
  std::uint64_t* buffer_;
  std::int64_t count_ = 0;
  std::uint64_t limit_ = ~std::uint64_t{0};
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Offers the elements of a line. Most of a long one come behind the limit, and are left out some vectors at a time:
// that compares values, so what is left is offered by its key.
template <bool largest>
void offer_line(std::int64_t n, const float* x, FirstKeys& keys) {
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const auto offer = [&](std::int64_t i) { keys.offer(order_key(x[i], i, largest)); };
  // False where v or the limit is a NaN.
  const auto behind = [](auto v, auto limit) HWY_ATTR { return largest ? hn::Le(v, limit) : hn::Ge(v, limit); };
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    const auto limit = hn::Set(d, value_of(keys.limit(), largest));
    const auto behind_0 = behind(load(d, x + i), limit);
    const auto behind_1 = behind(load(d, x + i + width), limit);
    const auto behind_2 = behind(load(d, x + i + 2 * width), limit);
    const auto behind_3 = behind(load(d, x + i + 3 * width), limit);
    if (hn::AllTrue(d, hn::And(hn::And(behind_0, behind_1), hn::And(behind_2, behind_3)))) continue;
    for (std::int64_t at = i; at < i + 4 * width; at += width) {
      std::uint64_t rest = 0;
      hn::StoreMaskBits(d, hn::Not(behind(load(d, x + at), limit)), reinterpret_cast<std::uint8_t*>(&rest));
      for (; rest != 0; rest &= rest - 1) offer(at + std::countr_zero(rest));
    }
  }
  for (; i < n; ++i) offer(i);
}

void offer_largest(std::int64_t n, const float* x, FirstKeys& keys) { offer_line<true>(n, x, keys); }
void offer_smallest(std::int64_t n, const float* x, FirstKeys& keys) { offer_line<false>(n, x, keys); }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(offer_largest);
HWY_EXPORT(offer_smallest);

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

  struct State {
    Lines lines;
    std::int64_t members;
    std::int64_t keys;  // of one member
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    require_f32(prep, "x", x);
    const Lines lines(x.shape, dim_of(prep, x, dim));
    require_indexable(prep, x, lines.size);
    prep.require(k >= 0 && k <= lines.size, ops::describe("x", x) + "; k is " + std::to_string(k) +
                                                ", and must be 0 to " + std::to_string(lines.size) +
                                                ", the size of dimension " + std::to_string(dim));
    prep.require(x.shape.rank() > 0 || k == 1, ops::describe("x", x) + "; k must be 1 for a number");
    auto state = std::make_shared<State>(
        State{lines, members_for(prep, lines), std::min(kLinesAtOnce, lines.inner) * FirstKeys::capacity(k)});
    const Shape shape = x.shape.rank() == 0 ? x.shape : x.shape.with(dim_of(prep, x, dim), k);
    const double n = as_double(x.shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(shape), Meta::plain(shape, i32)};
    out.input_layouts = {kPlain};
    out.scratch = state->members * state->keys * static_cast<std::int64_t>(sizeof(std::uint64_t));
    out.work = {8 * n, 4 * n + 24 * as_double(shape.numel())};
    if (needs[0]) out.parts.push_back(selection_part(x, out.outputs[0]));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    if (k == 0) return;
    const State& state = ctx.state<State>();
    const std::int64_t size = state.lines.size;
    const std::int64_t inner = state.lines.inner;
    const float* x = in[0].as<>();
    for_lines(ctx, state.lines, state.members,
              [&](std::int64_t member, std::int64_t at, std::int64_t first, std::int64_t count) {
                std::uint64_t* buffers = ctx.scratch<std::uint64_t>() + member * state.keys;
                std::array<FirstKeys, kLinesAtOnce> found = make(buffers, std::make_index_sequence<kLinesAtOnce>());
                const float* from = x + at * size * inner + first;
                if (inner == 1) {
                  largest ? HWY_DYNAMIC_DISPATCH(offer_largest)(size, from, found[0])
                          : HWY_DYNAMIC_DISPATCH(offer_smallest)(size, from, found[0]);
                } else {
                  for (std::int64_t i = 0; i < size; ++i) {
                    for (std::int64_t j = 0; j < count; ++j) {
                      found[static_cast<std::size_t>(j)].offer(order_key(from[i * inner + j], i, largest));
                    }
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
    scatter_selected(ctx, ctx.state<State>().lines, k, saved[0].as<std::int32_t>(), gy[0].as<>(), gx[0].as<>());
  }

  static std::vector<Sample> samples() {
    return {{"last", {{{3, 45}}}, any_op(Topk{4})},
            {"middle", {{{2, 3, 21}}}, any_op(Topk{2, 1, false})},
            {"first", {{{35, 3}}}, any_op(Topk{2, 0}), {false}},
            {"long", {{{2, 9000}}}, any_op(Topk{100, -1, false})}};
  }

 private:
  template <std::size_t... line>
  std::array<FirstKeys, kLinesAtOnce> make(std::uint64_t* buffers, std::index_sequence<line...>) const {
    return {FirstKeys(k, buffers + static_cast<std::int64_t>(line) * FirstKeys::capacity(k))...};
  }
};

}  // namespace

std::vector<Sample> topk_samples() { return Topk::samples(); }

}  // namespace ops

std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int dim, const TopkOptions& options,
                               SourceLocation where) {
  std::vector<Tensor> out = apply_all(any_op(ops::Topk{k, dim, options.largest}), {&x, 1}, where);
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace tidemark
#endif  // HWY_ONCE
