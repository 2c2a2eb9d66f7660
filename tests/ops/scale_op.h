// The op that the comment at the top of tidemark/op.h shows; own_op_test compares the two.
#pragma once

#include <tidemark/tidemark.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace td = tidemark;

struct Scale {
  static constexpr std::string_view name = "scale";
  float factor = 1;

  void describe(td::Attributes& a) const { a("factor", factor); }  // what makes two calls the same op

  td::Prepared prepare(td::Prep& prep, std::span<const td::Meta> in, td::Needs needs) const {
    prep.require(in[0].dtype == td::f32, "x must be f32");
    const td::Meta plain = td::Meta::plain(in[0].shape);
    const auto elements = static_cast<double>(plain.shape.numel());
    td::Prepared out;
    out.outputs = {plain};
    out.input_layouts = {td::Layout{}};  // row-major: the engine brings it there
    out.work = {elements, 8 * elements};
    if (needs[0]) {
      td::Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.gy = {{0, td::Layout{}}};
      part.work = out.work;
      out.parts.push_back(part);
    }
    return out;
  }

  void forward(td::Ctx& ctx, std::span<const td::Buf> in, std::span<const td::Buf> out) const {
    scale(ctx, in[0], out[0]);
  }

  void backward(td::Ctx& ctx, int, std::span<const td::Buf>, std::span<const td::Buf> gy,
                std::span<const td::Buf> gx) const {
    scale(ctx, gy[0], gx[0]);
  }

  void scale(td::Ctx& ctx, const td::Buf& from, const td::Buf& to) const {
    ctx.parallel_for(to.numel(), 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) to.as()[i] = factor * from.as()[i];
    });
  }
};
