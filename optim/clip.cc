#include "tidemark/clip.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "compute/threads.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/sparse_grad.h"

namespace tidemark::optim {
namespace {

constexpr std::int64_t kPart = 4096;  // elements whose squares are summed by one thread
constexpr std::int64_t kGrain = 8;    // parts: less is not worth a thread

constexpr std::int64_t parts_of(std::int64_t n) { return (n + kPart - 1) / kPart; }

// The square of an f32 is exact in f64, so that only the order of the sums matters, and that is written out.
double sum_of_squares(const float* x, std::int64_t n) {
  constexpr std::int64_t kSums = 16;
  double sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (std::int64_t k = 0; k < kSums; ++k) {
      const double value = x[i + k];
      sums[k] += value * value;
    }
  }
  for (std::int64_t k = 0; i < n; ++i, ++k) sums[k] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (std::int64_t width = kSums / 2; width > 0; width /= 2) {
    for (std::int64_t k = 0; k < width; ++k) sums[k] += sums[k + width];
  }
  return sums[0];
}

// All inputs are changed in place.
Prepared change_all(std::span<const Meta> in, double flops_per_element) {
  Prepared prepared;
  for (std::size_t i = 0; i < in.size(); ++i) {
    prepared.updates.push_back(static_cast<int>(i));
    prepared.work.bytes += static_cast<double>(3 * in[i].bytes);
    prepared.work.flops += flops_per_element * static_cast<double>(compute::stored_count(in[i]));
  }
  return prepared;
}

struct NormAndBad {
  double norm = 0;
  std::int64_t bad = 0;  // 1 + the index of the first gradient that is not finite
};

// The bounds are no attributes: every step records the same op.
struct ClipNorm {
  static constexpr std::string_view name = "clip_grad_norm";
  float max_norm;
  bool error_if_nonfinite;

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared = change_all(in, 3);
    prepared.outputs = {Meta::plain({static_cast<std::int64_t>(sizeof(NormAndBad))}, u8)};
    std::int64_t parts = 0;
    for (const Meta& meta : in) parts = std::max(parts, parts_of(compute::stored_count(meta)));
    prepared.scratch = std::max<std::int64_t>(1, parts) * static_cast<std::int64_t>(sizeof(double));
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    auto* sums = ctx.scratch<double>();
    NormAndBad result;
    double total = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const compute::StoredFloats elements = compute::stored_floats(*in[i].meta, in[i].data);
      const float* x = elements.data;
      const std::int64_t n = elements.count;
      ctx.parallel_for(parts_of(n), kGrain, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t part = first; part < last; ++part) {
          sums[part] = sum_of_squares(x + part * kPart, std::min(kPart, n - part * kPart));
        }
      });
      double sum = 0;
      for (std::int64_t part = 0; part < parts_of(n); ++part) sum += sums[part];
      if (!std::isfinite(sum) && result.bad == 0) result.bad = static_cast<std::int64_t>(i) + 1;
      total += sum;
    }
    result.norm = std::sqrt(total);
    std::memcpy(out[0].data, &result, sizeof result);
    if (result.bad != 0 && error_if_nonfinite) return;
    const auto factor = static_cast<float>(static_cast<double>(max_norm) / (result.norm + 1e-6));
    if (factor >= 1) return;
    for (const Buf& gradient : in) {
      const compute::StoredFloats elements = compute::stored_floats(*gradient.meta, gradient.data);
      ctx.parallel_for(elements.count, kGrain * kPart, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) elements.data[i] *= factor;
      });
    }
  }
};

struct ClipValue {
  static constexpr std::string_view name = "clip_grad_value";
  float most;

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const { return change_all(in, 2); }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    for (const Buf& gradient : in) {
      const compute::StoredFloats elements = compute::stored_floats(*gradient.meta, gradient.data);
      ctx.parallel_for(elements.count, kGrain * kPart, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          float& x = elements.data[i];
          x = x > most ? most : x < -most ? -most : x;
        }
      });
    }
  }
};

struct Gradients {
  std::vector<Tensor> tensors;
  std::vector<std::string> names;
};

// Each once: tied parameters have one gradient.
Gradients gradients_of(const std::vector<Parameter>& parameters, SourceLocation where) {
  Gradients gradients;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor gradient = detail::stored_grad(parameters[i], where);
    if (!gradient.defined()) continue;
    const auto known = [&](const Tensor& other) { return other.same(gradient); };
    if (std::any_of(gradients.tensors.begin(), gradients.tensors.end(), known)) continue;
    gradients.tensors.push_back(gradient);
    gradients.names.push_back(parameters[i].name().empty() ? "parameter " + std::to_string(i) : parameters[i].name());
  }
  return gradients;
}

}  // namespace

float clip_grad_norm(const std::vector<Parameter>& parameters, float max_norm, const ClipOptions& options,
                     SourceLocation where) {
  require_option(max_norm > 0, "clip_grad_norm", "max_norm must be above 0", max_norm, where);
  const Gradients gradients = gradients_of(parameters, where);
  if (gradients.tensors.empty()) return 0;
  const NoGrad no_grad;
  const auto op = any_op(ClipNorm{.max_norm = max_norm, .error_if_nonfinite = options.error_if_nonfinite});
  const std::vector<std::uint8_t> bytes = apply_one(op, gradients.tensors, where).to_vector<std::uint8_t>(where);
  NormAndBad result;
  std::memcpy(&result, bytes.data(), sizeof result);
  if (result.bad != 0 && options.error_if_nonfinite) {
    throw Error("[clip_grad_norm] the gradient of '" + gradients.names[static_cast<std::size_t>(result.bad - 1)] +
                "' is not finite, so the norm is not either; nothing was clipped (at " + to_string(where) + ")");
  }
  return static_cast<float>(result.norm);
}

void clip_grad_value(const std::vector<Parameter>& parameters, float clip_value, SourceLocation where) {
  require_option(clip_value > 0, "clip_grad_value", "clip_value must be above 0", clip_value, where);
  const Gradients gradients = gradients_of(parameters, where);
  if (gradients.tensors.empty()) return;
  const NoGrad no_grad;
  (void)apply_all(any_op(ClipValue{.most = clip_value}), gradients.tensors, where);
}

}  // namespace tidemark::optim
