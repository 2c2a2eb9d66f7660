// What the ops that run oneDNN kernels share.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "compute/machine.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// How a kernel is made. Prepared ops keep this and not the kernel: the machine's bounded cache owns those, and makes
// one again when it had to let it go.
struct KernelMaker {
  std::string key;
  std::function<compute::Kernel()> make;
  std::int64_t scratch = 0;
};

template <class Descriptor>
KernelMaker kernel_maker(std::string key, const Descriptor& descriptor, std::int64_t hidden = 0) {
  const auto scratchpad = static_cast<std::int64_t>(descriptor.scratchpad_desc().get_size());
  constexpr std::int64_t kLine = 64;
  const std::int64_t scratch = (scratchpad + kLine - 1) / kLine * kLine + (hidden + kLine - 1) / kLine * kLine;
  const auto make = [descriptor, scratchpad, hidden] {
    compute::Kernel kernel;
    kernel.primitive = compute::make_primitive(descriptor);
    kernel.scratchpad = scratchpad;
    kernel.hidden = hidden;
    kernel.implementation = descriptor.impl_info_str();
    return kernel;
  };
  return {std::move(key), make, scratch};
}

inline void run(Ctx& ctx, const KernelMaker& maker, std::unordered_map<int, dnnl::memory> arguments) {
  compute::Machine& machine = ctx.machine();
  machine.run(*machine.kernel(maker.key, maker.make), std::move(arguments), ctx.scratch());
}

// 2: generated for the shape; 1: slower, over GEMM or simple loops; 0: reference code, far too slow to use.
inline int rank_of(std::string_view implementation) {
  const auto has = [&](std::string_view part) { return implementation.find(part) != std::string_view::npos; };
  if (has("ref")) return 0;
  if (has("gemm") || !(has("jit") || has("brg"))) return 1;
  return 2;
}

// The first descriptor of the highest rank among what the makers give; empty where none of them exists.
template <class Descriptor>
Descriptor best_of(std::initializer_list<std::function<Descriptor()>> makers) {
  Descriptor best;
  int best_rank = -1;
  for (const auto& make : makers) {
    Descriptor candidate = make();
    if (!candidate) continue;
    const int rank = rank_of(candidate.impl_info_str());
    if (rank > best_rank) {
      best = candidate;
      best_rank = rank;
    }
    if (rank == 2) break;
  }
  return best;
}

// Shapes and layouts, for a kernel's key.
inline std::string text_of(std::span<const Meta> metas) {
  std::string text;
  for (const Meta& meta : metas) text += meta.shape.to_string() + '/' + std::to_string(meta.layout.id) + ' ';
  return text;
}

inline compute::Dims dims_of(const Shape& shape) { return {shape.dims().begin(), shape.dims().end()}; }

// oneDNN does not check sizes: its kernels count rows, places and images in 32 bits, and channels come in blocks of up
// to 16.
inline void require_countable(const Prep& prep, const std::string& what, const Shape& shape) {
  constexpr double kEnd = 0x1p31;
  for (int left_out = 0; left_out < 4; ++left_out) {
    double product = 1;
    for (int d = 0; d < shape.rank(); ++d) {
      const std::int64_t size = d == 1 ? (shape[d] + 15) / 16 * 16 : shape[d];
      if (d != left_out) product *= static_cast<double>(size);
    }
    prep.require(product < kEnd, what + " " + shape.to_string() + " is too large for the kernels of convolution and " +
                                     "batch norm: any three sizes of an image, the channels rounded up to 16, must " +
                                     "have a product below 2^31; cut images into tiles, or make the batch smaller");
  }
}

}  // namespace tidemark::ops
