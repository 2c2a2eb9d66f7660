// until_length: a batch of sequences of different lengths, each up to its end.
#include <algorithm>

#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/recurrent.h"

namespace tidemark {
namespace ops {
namespace {

struct UntilLength {
  static constexpr std::string_view name = "until_length";
  std::int64_t first = 0;

  void describe(Attributes& a) const { a("first", first); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& x = in[0].shape;
    const Shape& lengths = in[1].shape;
    prep.require(x.rank() == 2 || x.rank() == 3, "x " + x.to_string() + " must be [N, F] or [T, N, F]");
    prep.require(in[1].dtype == i32 && lengths == Shape({x[-2]}), ops::describe("lengths", in[1]) + "; for x " +
                                                                      x.to_string() + " it must be [" +
                                                                      std::to_string(x[-2]) + "] i32");
    if (in.size() > 2) {
      require_f32(prep, "otherwise", in[2]);
      prep.require(in[2].shape == x,
                   "otherwise " + in[2].shape.to_string() + " must be of the shape of x, " + x.to_string());
    }
    prep.require(first >= 0, "the first step is " + std::to_string(first) + "; it must be at least 0");
    Prepared out;
    out.outputs = {Meta::plain(x)};
    out.input_layouts.assign(in.size(), kPlain);
    out.work = {0, 2 * as_double(out.outputs[0].bytes)};
    out.overwrites = {{0, 0}};
    if (in.size() > 2) out.overwrites.emplace_back(2, 0);
    auto parts = std::make_shared<std::vector<int>>();
    for (const int input : {0, 2}) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(x)};
      part.saved = {Saved::input(1, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = out.work;
      part.overwrites = {{1, 0}};
      out.parts.push_back(std::move(part));
      parts->push_back(input);
    }
    out.state = std::move(parts);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    select(ctx, in[1], in[0].as<const float>(), in.size() > 2 ? in[2].as<const float>() : nullptr, out[0]);
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto* g = gy[0].as<const float>();
    const bool of_x = ctx.state<std::vector<int>>()[static_cast<std::size_t>(part)] == 0;
    select(ctx, saved[0], of_x ? g : nullptr, of_x ? nullptr : g, gx[0]);
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, std::int64_t first, bool otherwise) {
      const SampleInput lengths = {{x[-2]}, i32, SampleInput::Fill::kIndices, first + 4};
      Sample out{std::move(label), {{x}, lengths}, any_op(UntilLength{first})};
      if (otherwise) out.inputs.push_back({x});
      out.batched = {x.rank() == 2, x.rank() == 2};
      out.batched.resize(out.inputs.size(), x.rank() == 2);
      return out;
    };
    return {sample("step", {9, 5}, 1, false), sample("step or before", {9, 5}, 2, true),
            sample("steps", {4, 7, 3}, 0, false)};
  }

 private:
  // Rows of `running` or of `ended`, either of which may be null for zeros, or lie where `out` does.
  void select(const Ctx& ctx, const Buf& lengths, const float* running, const float* ended, const Buf& out) const {
    const std::int64_t width = out.shape()[-1];
    const std::int64_t batch = out.shape()[-2];
    const std::int64_t rows = out.shape().rank() == 3 ? out.shape()[0] * batch : batch;
    for_range(ctx, rows, 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* from = first + row / batch < lengths.as<const std::int32_t>()[row % batch] ? running : ended;
        float* to = out.as<>() + row * width;
        if (from == nullptr) {
          std::fill_n(to, width, 0.0f);
        } else if (from + row * width != to) {
          std::copy_n(from + row * width, width, to);
        }
      }
    });
  }
};

}  // namespace

std::vector<Sample> until_length_samples() { return UntilLength::samples(); }

}  // namespace ops

Tensor until_length(const Tensor& x, const Tensor& lengths, std::int64_t first, const Tensor& otherwise,
                    SourceLocation where) {
  const ops::UntilLength op{first};
  return otherwise.defined() ? apply(op, {x, lengths, otherwise}, where) : apply(op, {x, lengths}, where);
}

}  // namespace tidemark
