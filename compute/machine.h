// The machine as kernels see it: one oneDNN engine and stream, a bounded cache of primitives, kernel layouts, and the
// team of pinned threads. One a session; every kernel of oneDNN runs through it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "compute/onednn.h"
#include "tidemark/meta.h"

namespace tidemark::compute {

// A primitive ready to run, with what the arena must provide for it.
struct Kernel {
  dnnl::primitive primitive;
  std::int64_t scratch = 0;     // bytes: the user-mode scratchpad, rounded up to 64, plus `hidden`
  std::int64_t scratchpad = 0;  // bytes of it that are handed to the primitive
  std::int64_t hidden = 0;      // bytes that oneDNN may take by itself inside execute: reserved, never touched by us
  std::string implementation;   // as oneDNN names it, e.g. "jit:avx2"
};

class Machine {
 public:
  explicit Machine(int threads);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  int threads() const;
  const dnnl::engine& engine() const;
  dnnl::stream& stream();

  // Layouts are interned for the life of the process; plain row-major descriptors are layout 0.
  Layout layout_of(const Desc& desc);
  Desc desc(const Meta& meta) const;
  // The meta of a value of `shape` that lies as `desc` says (padding included in its bytes).
  Meta meta(const Shape& shape, const Desc& desc);

  // The kernel for `key`, made by `make` when it is not in the cache. The key must say everything the kernel depends
  // on.
  std::shared_ptr<const Kernel> kernel(const std::string& key, const std::function<Kernel()>& make);
  // Kernels generated so far.
  std::int64_t kernels_made() const;

  // Runs a kernel; the scratchpad argument is added where the kernel has one.
  void run(const Kernel& kernel, std::unordered_map<int, dnnl::memory> arguments, void* scratch);
  // Wraps bytes for run().
  dnnl::memory memory(const Desc& desc, void* data) const;

  // From one layout to another of the same shape and dtype.
  std::shared_ptr<const Kernel> reorder(const Meta& from, const Meta& to);
  void run_reorder(const Kernel& kernel, const Meta& from, const void* source, const Meta& to, void* target,
                   void* scratch);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The bytes that oneDNN is known to allocate by itself inside execute for an implementation and GEMM size; 0 for most.
std::int64_t hidden_bytes(std::string_view implementation, std::int64_t m, std::int64_t n, std::int64_t k, int threads);

}  // namespace tidemark::compute
