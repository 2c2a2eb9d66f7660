// An op of your own, from outside the library: y = x * sigmoid(scale * x), with its gradient.
//
// It says everything about itself in one struct: what makes two calls the same op, shapes and work, what backward
// needs, and the kernels. The engine can then discard and recompute its values like those of any other op, and
// verify_replay checks that a replay gives the same bits. (Being pointwise, it could be one line of td::map as well;
// see tidemark/map.h.)
#include <tidemark/tidemark.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>

namespace td = tidemark;
using namespace td::literals;

struct Swish {
  static constexpr std::string_view name = "swish";
  float scale = 1;

  void describe(td::Attributes& attributes) const { attributes("scale", scale); }

  td::Prepared prepare(td::Prep& prep, std::span<const td::Meta> in, td::Needs needs) const {
    prep.require(in[0].dtype == td::f32, "the input must be f32");
    const auto elements = static_cast<double>(in[0].shape.numel());
    td::Prepared prepared;
    prepared.outputs = {td::Meta::plain(in[0].shape)};
    prepared.input_layouts = {td::Layout{}};  // row-major; the engine brings it there
    prepared.work = {10 * elements, 8 * elements};
    if (needs[0]) {
      td::Part part;
      part.inputs = {0};
      part.gx = {td::Meta::plain(in[0].shape)};
      part.saved = {td::Saved::input(0, td::Layout{})};
      part.gy = {{0, td::Layout{}}};
      part.work = {15 * elements, 12 * elements};
      part.overwrites = {{1, 0}};  // the gradient may take gy's place
      prepared.parts.push_back(part);
    }
    return prepared;
  }

  // Parts of at least so many elements are worth a thread.
  static constexpr std::int64_t kGrain = 1024;

  void forward(td::Ctx& ctx, std::span<const td::Buf> in, std::span<const td::Buf> out) const {
    ctx.parallel_for(in[0].numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float x = in[0].as()[i];
        out[0].as()[i] = x * sigmoid(x);
      }
    });
  }

  void backward(td::Ctx& ctx, int, std::span<const td::Buf> saved, std::span<const td::Buf> gy,
                std::span<const td::Buf> gx) const {
    ctx.parallel_for(gx[0].numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float x = saved[0].as()[i];
        const float s = sigmoid(x);
        gx[0].as()[i] = gy[0].as()[i] * (s + scale * x * s * (1 - s));
      }
    });
  }

  float sigmoid(float x) const { return 1 / (1 + std::exp(-scale * x)); }
};

int main() {
  td::Session session({.budget = 64_MiB, .seed = 1, .verify_replay = true});
  td::Tensor weight = td::parameter(td::normal({256, 256}, 0, 0.06f), "weight");
  td::Tensor x = td::normal({1024, 256}, 0, 1);
  td::Tensor loss = td::mean(td::apply(Swish{1.5f}, {td::linear(x, weight)}));
  loss.backward();
  std::printf("loss %.6f, first gradient %.8f\n%s\n", static_cast<double>(loss.item()),
              static_cast<double>(weight.grad().to_vector()[0]), session.report().summary().c_str());
}
