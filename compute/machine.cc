#include "compute/machine.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <new>

#include "compute/layouts.h"
#include "compute/require_memory.h"
#include "compute/sparse_rows.h"
#include "core/round_up.h"

namespace tidemark::compute {
namespace {

constexpr std::size_t kKernelCapacity = 1024;
// oneDNN keeps its own cache of generated code, also for primitives nested in others: room for those beside ours.
constexpr int kPrimitiveCapacity = 1280;
constexpr std::int64_t kAlignment = 64;

dnnl::memory::data_type to_onednn(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return dnnl::memory::data_type::f32;
    case DType::f16:
      return dnnl::memory::data_type::f16;
    case DType::i32:
      return dnnl::memory::data_type::s32;
    case DType::u8:
      return dnnl::memory::data_type::u8;
  }
  throw Error("a dtype that kernels do not know");
}

DType from_onednn(dnnl::memory::data_type type) {
  switch (type) {
    case dnnl::memory::data_type::f32:
      return DType::f32;
    case dnnl::memory::data_type::f16:
      return DType::f16;
    case dnnl::memory::data_type::s32:
      return DType::i32;
    case dnnl::memory::data_type::u8:
      return DType::u8;
    default:
      throw Error("a kernel asks for a data type that tensors do not have");
  }
}

std::string text_of(const Shape& shape) {
  std::string text;
  for (const std::int64_t dim : shape.dims()) text += (text.empty() ? "[" : ", ") + std::to_string(dim);
  return text.empty() ? "[]" : text + "]";
}

Dims dims_of(const Shape& shape) {
  if (shape.rank() == 0) return {1};
  return {shape.dims().begin(), shape.dims().end()};
}

// What oneDNN takes for a kernel, with room to spare: it does not check whether it gets it.
constexpr std::int64_t kMadeIn = std::int64_t{16} << 20;

// A refusal for want of memory is the same wherever it comes from.
template <class Work>
auto checked(Work&& work) {
  try {
    return work();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw;
  }
}

// oneDNN generates code for the number of threads that OpenMP would use now, and runs with what it uses then.
class TeamSize {
 public:
  explicit TeamSize(int threads) : before_(omp_get_max_threads()), threads_(threads) {
    if (before_ != threads_) omp_set_num_threads(threads_);
  }
  ~TeamSize() {
    if (before_ != threads_) omp_set_num_threads(before_);
  }
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;

 private:
  int before_;
  int threads_;
};

}  // namespace

struct Machine::Impl {
  explicit Impl(int team) : threads(team), engine(dnnl::engine::kind::cpu, 0), stream(engine) {}

  struct Entry {
    std::string key;
    std::shared_ptr<const Kernel> kernel;
  };
  int threads;
  dnnl::engine engine;
  dnnl::stream stream;
  std::list<Entry> recent;  // the last used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> kernels;
  std::int64_t made = 0;
};

Machine::Machine(int threads) {
  if (threads < 1) throw Error("a machine needs at least one thread, not " + std::to_string(threads));
  if (dnnl::get_primitive_cache_capacity() < kPrimitiveCapacity) {
    dnnl::set_primitive_cache_capacity(kPrimitiveCapacity);
  }
  require_memory(kMadeIn);
  impl_ = std::make_unique<Impl>(threads);
}

Machine::~Machine() = default;

int Machine::threads() const { return impl_->threads; }

const dnnl::engine& Machine::engine() const { return impl_->engine; }

dnnl::stream& Machine::stream() { return impl_->stream; }

Layout Machine::layout_of(const Desc& desc) {
  // Grouped weights have a dimension more than their tensor: those layouts are of one size.
  return LayoutTable::instance().intern(desc, sizes_of(desc).size() <= 4);
}

Desc Machine::desc(const Meta& meta) const {
  const dnnl::memory::data_type type = to_onednn(meta.dtype);
  if (meta.layout.plain()) return plain_layout(dims_of(meta.shape), type);
  return LayoutTable::instance().desc(meta, type);
}

Meta Machine::meta(const Shape& shape, const Desc& desc) {
  const bool same_dims = std::ranges::equal(shape.dims(), sizes_of(desc));
  Meta out{shape, from_onednn(type_of(desc)), LayoutTable::instance().intern(desc, same_dims), 0};
  out.bytes = static_cast<std::int64_t>(this->desc(out).get_size());
  return out;
}

std::shared_ptr<const Kernel> Machine::kernel(const std::string& key, const std::function<Kernel()>& make) {
  Impl& impl = *impl_;
  if (const auto found = impl.kernels.find(key); found != impl.kernels.end()) {
    impl.recent.splice(impl.recent.begin(), impl.recent, found->second);
    return found->second->kernel;
  }
  const TeamSize team(impl.threads);
  require_memory(kMadeIn);
  Kernel made = [&] {
    try {
      return checked(make);
    } catch (const std::bad_alloc&) {
      // The entry that oneDNN was making stays in its cache, and whoever asks for the same kernel later waits for it.
      dnnl::set_primitive_cache_capacity(0);
      dnnl::set_primitive_cache_capacity(kPrimitiveCapacity);
      throw;
    }
  }();
  made.scratch = core::round_up(made.scratchpad, kAlignment) + core::round_up(made.hidden, kAlignment);
  ++impl.made;
  impl.recent.push_front({key, std::make_shared<const Kernel>(std::move(made))});
  impl.kernels.emplace(impl.recent.front().key, impl.recent.begin());
  if (impl.recent.size() > kKernelCapacity) {
    impl.kernels.erase(impl.recent.back().key);
    impl.recent.pop_back();
  }
  return impl.recent.front().kernel;
}

std::int64_t Machine::kernels_made() const { return impl_->made; }

void Machine::run(const Kernel& kernel, std::unordered_map<int, dnnl::memory> arguments, void* scratch) {
  const TeamSize team(impl_->threads);
  if (kernel.scratchpad > 0) {
    const Desc bytes({kernel.scratchpad}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
    arguments.emplace(DNNL_ARG_SCRATCHPAD, memory(bytes, scratch));
  }
  checked([&] { kernel.primitive.execute(impl_->stream, arguments); });
}

dnnl::memory Machine::memory(const Desc& desc, void* data) const {
  return checked([&] { return dnnl::memory(desc, impl_->engine, data); });
}

namespace {

// The plain side of a reorder takes the dimensions of the other one: grouped weights are [O, C/G, KH, KW] to users and
// [G, O/G, C/G, KH, KW] to kernels, the same elements in the same order.
std::pair<Desc, Desc> reorder_descs(const Machine& machine, const Meta& from, const Meta& to) {
  std::pair descs(machine.desc(from), machine.desc(to));
  if (from.layout.plain()) descs.first = plain_layout(sizes_of(descs.second), type_of(descs.second));
  if (to.layout.plain()) descs.second = plain_layout(sizes_of(descs.first), type_of(descs.first));
  return descs;
}

}  // namespace

std::shared_ptr<const Kernel> Machine::reorder(const Meta& from, const Meta& to) {
  if (from.shape != to.shape || from.dtype != to.dtype) {
    throw Error("a reorder keeps shape and dtype; this one goes from " + text_of(from.shape) + " to " +
                text_of(to.shape));
  }
  const std::string key = "reorder " + text_of(from.shape) + ' ' + std::to_string(static_cast<int>(from.dtype)) + ' ' +
                          std::to_string(from.layout.id) + ' ' + std::to_string(to.layout.id);
  return kernel(key, [&] {
    Kernel out;
    if (from.layout == to.layout || (is_sparse_rows(from.layout) && to.layout.plain())) {
      out.implementation = "copy";
      return out;
    }
    const auto [source, target] = reorder_descs(*this, from, to);
    const dnnl::reorder::primitive_desc pd(impl_->engine, source, impl_->engine, target, default_attributes());
    out.primitive = dnnl::reorder(pd);
    out.scratchpad = static_cast<std::int64_t>(pd.scratchpad_desc().get_size());
    out.implementation = pd.impl_info_str();
    return out;
  });
}

void Machine::run_reorder(const Kernel& kernel, const Meta& from, const void* source, const Meta& to, void* target,
                          void* scratch) {
  if (from.layout == to.layout) {
    std::memcpy(target, source, static_cast<std::size_t>(from.bytes));
    return;
  }
  if (is_sparse_rows(from.layout)) {
    std::memset(target, 0, static_cast<std::size_t>(to.bytes));
    add_rows_to(from, source, static_cast<float*>(target), impl_->threads);
    return;
  }
  const auto [source_desc, target_desc] = reorder_descs(*this, from, to);
  run(kernel,
      {{DNNL_ARG_FROM, memory(source_desc, const_cast<void*>(source))}, {DNNL_ARG_TO, memory(target_desc, target)}},
      scratch);
}

}  // namespace tidemark::compute
