// lstm_gates: a step of an LSTM. Backward makes the gates again from what they are made of, so that nothing but that
// and the cell state is kept.
#include "tidemark/ops/recurrent.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/recurrent/lstm_gates.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/recurrent/elements-inl.h"
#include "ops/recurrent/gate_shapes.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Of elements [begin, end) of [N, hidden].
void lstm_forward(std::int64_t begin, std::int64_t end, std::int64_t hidden, const float* products, const float* c,
                  float* new_h, float* new_c) {
  const Wide d;
  for_lanes(begin, end, hidden, [&](const Lanes& lanes) HWY_ATTR {
    const auto i = sigmoid(d, lanes.read_gate(0, products));
    const auto f = sigmoid(d, lanes.read_gate(1, products));
    const auto g = tanh(d, lanes.read_gate(2, products));
    const auto o = sigmoid(d, lanes.read_gate(3, products));
    const auto cell = hn::MulAdd(f, lanes.read(c), hn::Mul(i, g));
    lanes.write(cell, new_c);
    lanes.write(hn::Mul(o, tanh(d, cell)), new_h);
  });
}

// The gradients of the products and of c, where they are not null; any may lie over what it is read from.
void lstm_backward(std::int64_t begin, std::int64_t end, std::int64_t hidden, const float* products, const float* c,
                   const float* gh, const float* gc, float* g_products, float* g_c) {
  const Wide d;
  for_lanes(begin, end, hidden, [&](const Lanes& lanes) HWY_ATTR {
    const auto cell = lanes.read(c);
    const Sigmoid i = sigmoid_and_slope(lanes.read_gate(0, products));
    const Sigmoid f = sigmoid_and_slope(lanes.read_gate(1, products));
    const auto g = tanh(d, lanes.read_gate(2, products));
    const Sigmoid o = sigmoid_and_slope(lanes.read_gate(3, products));
    const auto t = tanh(d, hn::MulAdd(f.value, cell, hn::Mul(i.value, g)));
    const auto to_h = lanes.read(gh);
    const auto to_cell = hn::MulAdd(hn::Mul(to_h, o.value), tanh_slope(t), lanes.read(gc));
    if (g_c != nullptr) lanes.write(hn::Mul(to_cell, f.value), g_c);
    if (g_products == nullptr) return;
    lanes.write_gate(hn::Mul(hn::Mul(to_cell, g), i.slope), 0, g_products);
    lanes.write_gate(hn::Mul(hn::Mul(to_cell, cell), f.slope), 1, g_products);
    lanes.write_gate(hn::Mul(hn::Mul(to_cell, i.value), tanh_slope(g)), 2, g_products);
    lanes.write_gate(hn::Mul(hn::Mul(to_h, t), o.slope), 3, g_products);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(lstm_forward);
HWY_EXPORT(lstm_backward);

struct LstmGates {
  static constexpr std::string_view name = "lstm_gates";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_gates(prep, in, "c");
    const Shape& c = in[1].shape;
    const Meta plain = Meta::plain(c);
    const double n = as_double(c.numel());
    Prepared out;
    out.outputs = {plain, plain};
    out.input_layouts = {kPlain, kPlain};
    out.work = {120 * n, 28 * n};
    out.overwrites = {{1, 1}, {1, 0}};
    if (!needs.any()) return out;
    Part part;
    part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain)};
    part.gy = {{0, kPlain}, {1, kPlain}};
    part.work = {150 * n, 48 * n};
    if (needs[0]) {
      part.inputs.push_back(0);
      part.gx.push_back(Meta::plain(in[0].shape));
      part.overwrites = {{0, 0}};
    }
    if (needs[1]) {
      const auto at = static_cast<int>(part.inputs.size());
      part.inputs.push_back(1);
      part.gx.push_back(plain);
      for (const int read : {3, 2, 1}) part.overwrites.emplace_back(read, at);
    }
    out.parts.push_back(std::move(part));
    out.state = std::make_shared<Needs>(needs);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t hidden = in[1].shape()[1];
    for_elements(ctx, in[1].numel(), 28, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(lstm_forward)
      (begin, end, hidden, in[0].as<>(), in[1].as<>(), out[0].as<>(), out[1].as<>());
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& needs = ctx.state<Needs>();
    float* g_products = needs[0] ? gx.front().as<>() : nullptr;
    float* g_c = needs[1] ? gx.back().as<>() : nullptr;
    const std::int64_t hidden = saved[1].shape()[1];
    for_elements(ctx, saved[1].numel(), 48, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(lstm_backward)
      (begin, end, hidden, saved[0].as<>(), saved[1].as<>(), gy[0].as<>(), gy[1].as<>(), g_products, g_c);
    });
  }

  static std::vector<Sample> samples() {
    return {{"odd", {{{3, 28}}, {{3, 7}}}, any_op(LstmGates{})},
            {"one row", {{{1, 76}}, {{1, 19}}}, any_op(LstmGates{})},
            {"many", {{{33, 256}}, {{33, 64}}}, any_op(LstmGates{})}};
  }
};

}  // namespace

std::vector<Sample> lstm_gates_samples() { return LstmGates::samples(); }

}  // namespace ops

LstmState lstm_gates(const Tensor& products, const Tensor& c, SourceLocation where) {
  const Tensor inputs[] = {products, c};
  std::vector<Tensor> out = apply_all(any_op(ops::LstmGates{}), inputs, where);
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace tidemark
#endif  // HWY_ONCE
