// A pointwise function of your own in one line: y[i] = f(x[i]), and its slope for the gradient.
//
//   td::Tensor y = td::map(x, [](float v) { return v / (1 + std::fabs(v)); },
//                          [](float v) { return 1 / ((1 + std::fabs(v)) * (1 + std::fabs(v))); });
//
// The functions are compiled with your program's flags (-O3 -march=native vectorises most). They take and give floats,
// may be called any number of times from any thread, and must depend on their arguments alone.
//
// Captures: a lambda may hold floats, bools and integers of at most 32 bits, by value, and nothing else; anything that
// could hold a reference or a pointer does not compile, since what it leads to could have changed when the value is
// computed again. The captured bytes are part of what makes two calls the same op, and so is the lambda's type: no two
// lambdas share one, even where their texts are equal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "tidemark/op.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct MapOptions {
  std::string_view name = "map";  // in errors and reports
  double flops = 10;              // of one element, each way: what computing it again is taken to cost
};

// A slope that is told y instead of x: what backward then reads is the result, which is often kept anyway.
template <class F>
struct SlopeOfY {
  [[no_unique_address]] F function;
};
template <class F>
SlopeOfY<F> slope_of_y(F function) {
  return {std::move(function)};
}

namespace detail {

// A pointwise op: all that it declares follows from what its slope reads.
class Pointwise : public AnyOp {
 public:
  struct Traits {
    bool slope = false;    // false: the result requires no gradient
    bool reads_x = false;  // the slope's arguments
    bool reads_y = false;
    double flops = 1;  // of one element
    double slope_flops = 1;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const final;
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const final;
  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const final;

 protected:
  explicit Pointwise(Traits traits) : traits_(traits) {}

 private:
  // Over n elements; y may be x.
  virtual void value(std::int64_t n, const float* x, float* y) const = 0;
  // gx may be any of the others. x and y are null where the slope does not read them.
  virtual void gradient(std::int64_t n, const float* x, const float* y, const float* gy, float* gx) const = 0;
  // Whether zeros give zeros both ways: then the padding of a layout may be processed as if it were elements.
  virtual bool keeps_zeros() const { return false; }
  // Whether the gradient passes unchanged.
  virtual bool slope_is_one() const { return false; }

  Traits traits_;
};

struct NoSlope {};

// What a slope reads, by how it can be called.
template <class S>
struct SlopeOf {
  static constexpr bool kOfX = std::is_invocable_r_v<float, const S&, float>;
  static constexpr bool kOfBoth = std::is_invocable_r_v<float, const S&, float, float>;
  static constexpr Pointwise::Traits kTraits = {.slope = true, .reads_x = true, .reads_y = !kOfX};
  static_assert(kOfX || kOfBoth, "td::map: a slope is called with x, or with x and y, and gives a float");
  static float at(const S& slope, float x, float y) {
    if constexpr (kOfX) {
      return static_cast<float>(slope(x));
    } else {
      return static_cast<float>(slope(x, y));
    }
  }
};
template <class F>
struct SlopeOf<SlopeOfY<F>> {
  static constexpr Pointwise::Traits kTraits = {.slope = true, .reads_y = true};
  static_assert(std::is_invocable_r_v<float, const F&, float>, "td::map: slope_of_y takes a function of one float");
  static float at(const SlopeOfY<F>& slope, float, float y) { return static_cast<float>(slope.function(y)); }
};
template <>
struct SlopeOf<NoSlope> {
  static constexpr Pointwise::Traits kTraits = {};
  static float at(NoSlope, float, float) { return 0; }
};

// Pointers and references are aligned to their size, so that what is aligned to less holds none.
template <class F>
inline constexpr bool kHoldsNumbersOnly = std::is_empty_v<F> ||
                                          (std::is_trivially_copyable_v<F> && alignof(F) < alignof(void*));

// out[i] = f(in[i]...). A block of fixed size overlaps nothing, so that compilers vectorise without knowing whether
// `out` is one of the inputs.
template <class F, class... In>
void over_blocks(std::int64_t n, float* out, const F& f, const In*... in) {
  constexpr std::int64_t kBlock = 64;
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    float block[kBlock];
    for (std::int64_t k = 0; k < kBlock; ++k) block[k] = f(in[i + k]...);
    std::copy_n(block, kBlock, out + i);
  }
  for (; i < n; ++i) out[i] = f(in[i]...);
}

// Adds the bytes that a function object holds to the attributes.
template <class F>
void describe_captures(Attributes& attributes, std::string_view name, const F& function) {
  if constexpr (!std::is_empty_v<F>) {
    alignas(F) std::byte bytes[sizeof(F)];
    std::memcpy(bytes, &function, sizeof function);
#if __has_builtin(__builtin_clear_padding)
    // What lies between the captures may differ from object to object. Where it stays, equal calls may count as
    // different ones, which costs time and never a wrong result.
    __builtin_clear_padding(reinterpret_cast<F*>(bytes));
#endif
    for (const std::byte b : bytes) attributes(name, static_cast<int>(b));
  }
}

template <class F, class S>
class MapOp final : public Pointwise {
  static_assert(std::is_invocable_r_v<float, const F&, float>, "td::map: the function takes a float and gives one");
  static_assert(kHoldsNumbersOnly<F> && kHoldsNumbersOnly<S>,
                "td::map: a lambda may capture floats, bools and 32-bit integers by value, and nothing else");

 public:
  MapOp(F function, S slope, const MapOptions& options)
      : Pointwise(traits(options)), name_(options.name), function_(std::move(function)), slope_(std::move(slope)) {}

  std::string_view name() const override { return name_; }
  void describe(Attributes& attributes) const override {
    // One object for each pair of types. It is not const: equal constants may be merged.
    static char identity;
    attributes("code", static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(&identity)));
    describe_captures(attributes, "captured", function_);
    describe_captures(attributes, "captured by the slope", slope_);
  }

 private:
  static Traits traits(const MapOptions& options) {
    Traits out = SlopeOf<S>::kTraits;
    out.flops = out.slope_flops = options.flops;
    return out;
  }

  void value(std::int64_t n, const float* x, float* y) const override {
    over_blocks(
        n, y, [this](float v) { return static_cast<float>(function_(v)); }, x);
  }

  void gradient(std::int64_t n, const float* x, const float* y, const float* gy, float* gx) const override {
    constexpr Traits kTraits = SlopeOf<S>::kTraits;
    if constexpr (kTraits.reads_x && kTraits.reads_y) {
      over_blocks(
          n, gx, [this](float g, float v, float w) { return g * SlopeOf<S>::at(slope_, v, w); }, gy, x, y);
    } else {
      over_blocks(
          n, gx, [this](float g, float v) { return g * SlopeOf<S>::at(slope_, v, v); }, gy, kTraits.reads_x ? x : y);
    }
  }

  std::string name_;
  F function_;
  S slope_;
};

}  // namespace detail

// y = f(x), without a gradient.
template <class F>
Tensor map(const Tensor& x, F function, const MapOptions& options = {},
           SourceLocation where = SourceLocation::current()) {
  return apply_one(std::make_shared<detail::MapOp<F, detail::NoSlope>>(std::move(function), detail::NoSlope(), options),
                   {&x, 1}, where);
}

// y = f(x), and gx = gy * slope: called as slope(x) or slope(x, y), or slope_of_y(function) as function(y).
template <class F, class S>
Tensor map(const Tensor& x, F function, S slope, const MapOptions& options = {},
           SourceLocation where = SourceLocation::current()) {
  return apply_one(std::make_shared<detail::MapOp<F, S>>(std::move(function), std::move(slope), options), {&x, 1},
                   where);
}

}  // namespace tidemark
#pragma GCC visibility pop
