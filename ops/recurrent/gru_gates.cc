// gru_gates: a step of a GRU. Backward makes the gates again, as that of lstm_gates does.
#include "tidemark/ops/recurrent.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/recurrent/gru_gates.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                          // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/recurrent/elements-inl.h"
#include "ops/recurrent/gate_shapes.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Of elements [begin, end) of [N, hidden].
void gru_forward(std::int64_t begin, std::int64_t end, std::int64_t hidden, const float* products, const float* h,
                 float* new_h) {
  const Wide d;
  for_lanes(begin, end, hidden, [&](const Lanes& lanes) HWY_ATTR {
    const auto r = sigmoid(d, lanes.read_gate(0, products));
    const auto z = sigmoid(d, lanes.read_gate(1, products));
    const auto n = tanh(d, hn::MulAdd(r, lanes.read_gate(3, products), lanes.read_gate(2, products)));
    lanes.write(hn::MulAdd(z, hn::Sub(lanes.read(h), n), n), new_h);
  });
}

// The gradients of the products and of h, where they are not null; that of h without what comes through the products.
// Either may lie over what it is read from.
void gru_backward(std::int64_t begin, std::int64_t end, std::int64_t hidden, const float* products, const float* h,
                  const float* g, float* g_products, float* g_h) {
  const Wide d;
  for_lanes(begin, end, hidden, [&](const Lanes& lanes) HWY_ATTR {
    const auto to_h = lanes.read(g);
    const auto before_z = lanes.read_gate(1, products);
    const Sigmoid z = sigmoid_and_slope(before_z);
    if (g_products != nullptr) {
      const auto before = lanes.read(h);
      const Sigmoid r = sigmoid_and_slope(lanes.read_gate(0, products));
      const auto of_h = lanes.read_gate(3, products);
      const auto n = tanh(d, hn::MulAdd(r.value, of_h, lanes.read_gate(2, products)));
      const auto to_n = hn::Mul(hn::Mul(to_h, sigmoid(d, hn::Neg(before_z))), tanh_slope(n));
      lanes.write_gate(hn::Mul(hn::Mul(to_n, of_h), r.slope), 0, g_products);
      lanes.write_gate(hn::Mul(hn::Mul(to_h, hn::Sub(before, n)), z.slope), 1, g_products);
      lanes.write_gate(to_n, 2, g_products);
      lanes.write_gate(hn::Mul(to_n, r.value), 3, g_products);
    }
    if (g_h != nullptr) lanes.write(hn::Mul(to_h, z.value), g_h);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(gru_forward);
HWY_EXPORT(gru_backward);

struct GruGates {
  static constexpr std::string_view name = "gru_gates";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_gates(prep, in, "h");
    const Shape& h = in[1].shape;
    const Meta plain = Meta::plain(h);
    const double n = as_double(h.numel());
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {kPlain, kPlain};
    out.work = {80 * n, 24 * n};
    out.overwrites = {{1, 0}};
    if (!needs.any()) return out;
    Part part;
    part.saved = {Saved::input(0, kPlain)};
    if (needs[0]) part.saved.push_back(Saved::input(1, kPlain));
    part.gy = {{0, kPlain}};
    part.work = {110 * n, 44 * n};
    if (needs[0]) {
      part.inputs.push_back(0);
      part.gx.push_back(Meta::plain(in[0].shape));
      part.overwrites = {{0, 0}};
    }
    if (needs[1]) {
      const auto at = static_cast<int>(part.inputs.size());
      part.inputs.push_back(1);
      part.gx.push_back(plain);
      for (auto read = static_cast<int>(part.saved.size()); read > 0; --read) part.overwrites.emplace_back(read, at);
    }
    out.parts.push_back(std::move(part));
    out.state = std::make_shared<Needs>(needs);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t hidden = in[1].shape()[1];
    for_elements(ctx, in[1].numel(), 24, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(gru_forward)(begin, end, hidden, in[0].as<>(), in[1].as<>(), out[0].as<>());
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& needs = ctx.state<Needs>();
    float* g_products = needs[0] ? gx.front().as<>() : nullptr;
    float* g_h = needs[1] ? gx.back().as<>() : nullptr;
    const float* h = needs[0] ? saved[1].as<const float>() : nullptr;
    const std::int64_t hidden = gy[0].shape()[1];
    for_elements(ctx, gy[0].numel(), 44, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(gru_backward)
      (begin, end, hidden, saved[0].as<>(), h, gy[0].as<>(), g_products, g_h);
    });
  }

  static std::vector<Sample> samples() {
    return {{"odd", {{{3, 28}}, {{3, 7}}}, any_op(GruGates{})},
            {"one row", {{{1, 76}}, {{1, 19}}}, any_op(GruGates{})},
            {"many", {{{33, 256}}, {{33, 64}}}, any_op(GruGates{})}};
  }
};

}  // namespace

std::vector<Sample> gru_gates_samples() { return GruGates::samples(); }

}  // namespace ops

Tensor gru_gates(const Tensor& products, const Tensor& h, SourceLocation where) {
  return apply(ops::GruGates{}, {products, h}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
