// A parameter with its gradient and its packed state in plain memory, and the same optimizer in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "compute/half.h"
#include "compute/philox.h"
#include "optim/kernels.h"

namespace tidemark::optim::testing {

struct Arrays {
  static constexpr std::size_t kGuard = 64;  // elements and bytes behind the end that nobody may touch

  Arrays(Format format_of_state, int moments_of_state, std::int64_t n)
      : format(format_of_state),
        moments(moments_of_state),
        p(static_cast<std::size_t>(n) + kGuard),
        g(static_cast<std::size_t>(n)),
        bytes(static_cast<std::size_t>(state_bytes(format, moments, n)) + kGuard) {
    std::fill(p.end() - kGuard, p.end(), -7.0f);
    std::fill(bytes.end() - kGuard, bytes.end(), std::byte{0x5a});
  }

  std::int64_t size() const { return static_cast<std::int64_t>(g.size()); }
  std::span<float> parameters() { return {p.data(), g.size()}; }
  State state() {
    return {.format = format, .bytes = moments > 0 ? bytes.data() : nullptr, .seed = 11, .parameter = 3};
  }
  void forget() { std::fill(bytes.begin(), bytes.end() - kGuard, std::byte{0}); }
  bool guards_whole() const {
    return std::count(p.end() - kGuard, p.end(), -7.0f) == kGuard &&
           std::count(bytes.end() - kGuard, bytes.end(), std::byte{0x5a}) == kGuard;
  }

  void step(const AdamWStep& adamw_step, int threads = 1) {
    adamw(adamw_step, size(), p.data(), g.data(), state(), threads);
  }
  void step(const SgdStep& sgd_step, int threads = 1) { sgd(sgd_step, size(), p.data(), g.data(), state(), threads); }
  void step(const AdamStep& adam_step, int threads = 1) {
    adam(adam_step, size(), p.data(), g.data(), state(), threads);
  }
  void step(const AdagradStep& adagrad_step, int threads = 1) {
    adagrad(adagrad_step, size(), p.data(), g.data(), state(), threads);
  }
  void step(const RmspropStep& rmsprop_step, int threads = 1) {
    rmsprop(rmsprop_step, size(), p.data(), g.data(), state(), threads);
  }
  void step(const LionStep& lion_step, int threads = 1) {
    lion(lion_step, size(), p.data(), g.data(), state(), threads);
  }

  compute::half half(std::int64_t moment, std::int64_t i) const {
    compute::half bits = 0;
    std::memcpy(&bits, bytes.data() + 2 * (moment * size() + i), sizeof bits);
    return bits;
  }
  int exponent(std::int64_t moment, std::int64_t i) const {
    const std::int64_t at = std::int64_t{2} * moments * size() + moment * blocks_of(size()) + i / kBlock;
    return static_cast<std::int8_t>(bytes[static_cast<std::size_t>(at)]);
  }
  // What is stored, the root of what f32 keeps squared.
  double value(std::int64_t moment, std::int64_t i) const {
    const double stored = raw(moment, i);
    return format == Format::kF32 && moment == root ? std::sqrt(stored) : stored;
  }
  double raw(std::int64_t moment, std::int64_t i) const {
    if (format == Format::kF16) {
      return std::ldexp(static_cast<double>(compute::half_to_float(half(moment, i))), exponent(moment, i));
    }
    float value = 0;
    std::memcpy(&value, bytes.data() + 4 * (moment * size() + i), sizeof value);
    return static_cast<double>(value);
  }

  Format format;
  int moments;
  int root = 1;  // the moment that is a root
  std::vector<float> p, g;
  std::vector<std::byte> bytes;
};

// The same bits in parameters and state.
inline bool same_bits(const Arrays& a, const Arrays& b) {
  return a.p.size() == b.p.size() && a.bytes.size() == b.bytes.size() &&
         std::memcmp(a.p.data(), b.p.data(), a.p.size() * sizeof(float)) == 0 &&
         std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

inline void fill_normal(std::span<float> out, std::uint64_t stream, float scale) {
  compute::random_normal({17, stream}, 0, static_cast<std::int64_t>(out.size()), out.data());
  for (float& x : out) x *= scale;
}

// Normal, times 2^-k with k from 0 to `octaves` - 1, one after another.
inline void fill_spread(std::span<float> out, std::uint64_t stream, int octaves) {
  fill_normal(out, stream, 1);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::ldexp(out[i], -static_cast<int>(i % octaves));
}

struct AdamW64 {
  explicit AdamW64(std::span<const float> initial) : p(initial.begin(), initial.end()), m(p.size()), v(p.size()) {}
  void step(const AdamWStep& step, std::span<const float> g) {
    const double beta1 = step.beta1;
    const double beta2 = step.beta2;
    const double correction1 = 1 - std::pow(beta1, static_cast<double>(step.step));
    const double correction2 = 1 - std::pow(beta2, static_cast<double>(step.step));
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = g[i];
      m[i] = beta1 * m[i] + (1 - beta1) * gradient;
      v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
      p[i] -= static_cast<double>(step.lr) * step.weight_decay * p[i];
      p[i] -= step.lr * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + step.eps);
    }
  }
  std::vector<double> p, m, v;
};

struct Sgd64 {
  explicit Sgd64(std::span<const float> initial) : p(initial.begin(), initial.end()), m(p.size()) {}
  void step(const SgdStep& step, std::span<const float> g) {
    const double momentum = step.momentum;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = g[i] + step.weight_decay * p[i];
      m[i] = momentum * m[i] + gradient;
      p[i] -= step.lr * (step.nesterov ? gradient + momentum * m[i] : m[i]);
    }
  }
  std::vector<double> p, m;
};

struct Adam64 {
  explicit Adam64(std::span<const float> initial) : p(initial.begin(), initial.end()), m(p.size()), v(p.size()) {}
  void step(const AdamStep& step, std::span<const float> g) {
    const double beta1 = step.beta1;
    const double beta2 = step.beta2;
    const double correction1 = 1 - std::pow(beta1, static_cast<double>(step.step));
    const double correction2 = 1 - std::pow(beta2, static_cast<double>(step.step));
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = g[i] + step.weight_decay * p[i];
      m[i] = beta1 * m[i] + (1 - beta1) * gradient;
      v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
      p[i] -= step.lr * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + step.eps);
    }
  }
  std::vector<double> p, m, v;
};

struct Adagrad64 {
  explicit Adagrad64(std::span<const float> initial) : p(initial.begin(), initial.end()), v(p.size()) {}
  void step(const AdagradStep& step, std::span<const float> g) {
    const double rate = step.lr / (1 + static_cast<double>(step.step - 1) * step.lr_decay);
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = g[i] + step.weight_decay * p[i];
      v[i] += gradient * gradient + static_cast<double>(step.step == 1 ? step.initial : 0);
      p[i] -= rate * gradient / (std::sqrt(v[i]) + step.eps);
    }
  }
  std::vector<double> p, v;
};

// As PyTorch writes it: the average of the squares less the square of the average.
struct Rmsprop64 {
  explicit Rmsprop64(std::span<const float> initial)
      : p(initial.begin(), initial.end()), v(p.size()), average(p.size()), m(p.size()) {}
  void step(const RmspropStep& step, std::span<const float> g) {
    const double alpha = step.alpha;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = g[i] + step.weight_decay * p[i];
      v[i] = alpha * v[i] + (1 - alpha) * gradient * gradient;
      average[i] = alpha * average[i] + (1 - alpha) * gradient;
      const double square = step.centered ? v[i] - average[i] * average[i] : v[i];
      m[i] = step.momentum * m[i] + gradient / (std::sqrt(square) + step.eps);
      p[i] -= step.lr * m[i];
    }
  }
  std::vector<double> p, v, average, m;
};

struct Lion64 {
  explicit Lion64(std::span<const float> initial) : p(initial.begin(), initial.end()), m(p.size()) {}
  void step(const LionStep& step, std::span<const float> g) {
    const double beta1 = step.beta1;
    const double beta2 = step.beta2;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double mixed = beta1 * m[i] + (1 - beta1) * g[i];
      p[i] *= 1 - static_cast<double>(step.lr) * step.weight_decay;
      p[i] -= step.lr * ((mixed > 0 ? 1.0 : 0.0) - (mixed < 0 ? 1.0 : 0.0));
      m[i] = beta2 * m[i] + (1 - beta2) * g[i];
    }
  }
  std::vector<double> p, m;
};

// The largest |p - reference| over the largest distance that the reference has moved.
inline double deviation(std::span<const float> p, std::span<const float> from, std::span<const double> reference) {
  double moved = 0;
  double off = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    moved = std::max(moved, std::abs(reference[i] - static_cast<double>(from[i])));
    off = std::max(off, std::abs(static_cast<double>(p[i]) - reference[i]));
  }
  return off / moved;
}

}  // namespace tidemark::optim::testing
