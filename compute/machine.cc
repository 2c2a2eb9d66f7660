#include "compute/machine.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

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

DType from_onednn(dnnl_data_type_t type) {
  switch (type) {
    case dnnl_f32:
      return DType::f32;
    case dnnl_f16:
      return DType::f16;
    case dnnl_s32:
      return DType::i32;
    case dnnl_u8:
      return DType::u8;
    default:
      throw Error("a kernel asks for a data type that tensors do not have");
  }
}

// A layout without its sizes: the order of the outer dimensions, outermost first, and the blocks inside them. The same
// format serves every shape, so the table of layouts stays small in programs whose shapes vary.
struct Format {
  int rank = 0;
  std::array<int, Shape::kMaxRank> order{};
  std::vector<std::pair<int, dnnl_dim_t>> blocks;  // dimension, size; outermost first
  friend bool operator==(const Format&, const Format&) = default;
};

dnnl_memory_desc_t build(const Format& format, std::span<const dnnl_dim_t> dims, dnnl_data_type_t type) {
  dnnl_memory_desc_t out;
  std::memset(&out, 0, sizeof out);
  out.ndims = format.rank;
  out.data_type = type;
  out.format_kind = dnnl_blocked;
  auto& blocking = out.format_desc.blocking;
  blocking.inner_nblks = static_cast<int>(format.blocks.size());
  std::array<dnnl_dim_t, Shape::kMaxRank> block{};
  block.fill(1);
  dnnl_dim_t stride = 1;
  for (std::size_t i = 0; i < format.blocks.size(); ++i) {
    const auto [dim, size] = format.blocks[i];
    blocking.inner_idxs[i] = dim;
    blocking.inner_blks[i] = size;
    block[static_cast<std::size_t>(dim)] *= size;
    stride *= size;
  }
  for (int i = format.rank - 1; i >= 0; --i) {
    const auto dim = static_cast<std::size_t>(format.order[static_cast<std::size_t>(i)]);
    out.dims[dim] = dims[dim];
    out.padded_dims[dim] = (dims[dim] + block[dim] - 1) / block[dim] * block[dim];
    blocking.strides[dim] = stride;
    stride *= std::max<dnnl_dim_t>(1, out.padded_dims[dim] / block[dim]);
  }
  return out;
}

// Equal in where every element lies: the stride of a dimension that is never stepped over does not count.
bool same_places(const dnnl_memory_desc_t& a, const dnnl_memory_desc_t& b) {
  const auto& x = a.format_desc.blocking;
  const auto& y = b.format_desc.blocking;
  if (a.ndims != b.ndims || a.offset0 != b.offset0 || a.extra.flags != b.extra.flags) return false;
  if (x.inner_nblks != y.inner_nblks) return false;
  std::array<dnnl_dim_t, DNNL_MAX_NDIMS> block{};
  block.fill(1);
  for (int i = 0; i < x.inner_nblks; ++i) {
    if (x.inner_idxs[i] != y.inner_idxs[i] || x.inner_blks[i] != y.inner_blks[i]) return false;
    block[static_cast<std::size_t>(x.inner_idxs[i])] *= x.inner_blks[i];
  }
  for (int d = 0; d < a.ndims; ++d) {
    if (a.dims[d] != b.dims[d] || a.padded_dims[d] != b.padded_dims[d]) return false;
    if (a.padded_offsets[d] != b.padded_offsets[d]) return false;
    if (a.padded_dims[d] > block[static_cast<std::size_t>(d)] && x.strides[d] != y.strides[d]) return false;
  }
  return true;
}

// The format that gives just this descriptor; none where padding or strides follow no rule.
std::optional<Format> format_of(const dnnl_memory_desc_t& desc) {
  if (desc.format_kind != dnnl_blocked || desc.ndims > Shape::kMaxRank || desc.extra.flags != 0) return {};
  const auto& blocking = desc.format_desc.blocking;
  Format format;
  format.rank = desc.ndims;
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    format.blocks.emplace_back(static_cast<int>(blocking.inner_idxs[i]), blocking.inner_blks[i]);
  }
  const auto fits = [&] {
    return same_places(build(format, std::span(desc.dims, static_cast<std::size_t>(desc.ndims)), desc.data_type), desc);
  };
  // Sizes of 1 leave the order open: plain first, then channels last, then whatever the strides say.
  const auto begin = format.order.begin();
  const auto end = begin + format.rank;
  for (auto it = begin; it != end; ++it) *it = static_cast<int>(it - begin);
  if (fits()) return format;
  if (format.rank > 2) {
    std::rotate(begin + 1, begin + 2, end);
    if (fits()) return format;
    std::rotate(begin + 1, end - 1, end);
  }
  std::stable_sort(begin, end, [&](int a, int b) { return blocking.strides[a] > blocking.strides[b]; });
  if (fits()) return format;
  return {};
}

// The layouts of the process. Entry i is layout i + 1.
class LayoutTable {
 public:
  static LayoutTable& instance() {
    static LayoutTable table;
    return table;
  }

  // `by_format`: the value's shape has the descriptor's dimensions, so the format says everything.
  Layout intern(const dnnl_memory_desc_t& desc, bool by_format) {
    std::optional<Format> format = format_of(desc);
    if (format && format->blocks.empty()) {
      const auto order = format->order.begin();
      if (std::is_sorted(order, order + format->rank)) return Layout{};
    }
    if (!by_format) format.reset();
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      const bool same = format ? entry.format == format : !entry.format && same_places(entry.exact, desc);
      if (same) return Layout{static_cast<std::uint32_t>(i + 1)};
    }
    entries_.push_back({std::move(format), desc});
    return Layout{static_cast<std::uint32_t>(entries_.size())};
  }

  dnnl_memory_desc_t desc(const Meta& meta, dnnl_data_type_t type) {
    const std::lock_guard lock(mutex_);
    if (meta.layout.id == 0 || meta.layout.id > entries_.size()) throw Error("a layout that no kernel made");
    const Entry& entry = entries_[meta.layout.id - 1];
    if (!entry.format) return entry.exact;
    if (entry.format->rank != meta.shape.rank()) throw Error("a layout on a shape of another rank");
    std::array<dnnl_dim_t, Shape::kMaxRank> dims{};
    std::copy(meta.shape.dims().begin(), meta.shape.dims().end(), dims.begin());
    return build(*entry.format, dims, type);
  }

 private:
  struct Entry {
    std::optional<Format> format;  // none: this one descriptor
    dnnl_memory_desc_t exact;
  };
  std::mutex mutex_;
  std::deque<Entry> entries_;
};

std::string text_of(const Shape& shape) {
  std::string text;
  for (const std::int64_t dim : shape.dims()) text += (text.empty() ? "[" : ", ") + std::to_string(dim);
  return text.empty() ? "[]" : text + "]";
}

dnnl::memory::dims dims_of(const Shape& shape) {
  if (shape.rank() == 0) return {1};
  return {shape.dims().begin(), shape.dims().end()};
}

dnnl::memory::desc plain_desc(const dnnl::memory::dims& dims, dnnl::memory::data_type type) {
  dnnl::memory::dims strides(dims.size(), 1);
  for (std::size_t i = dims.size() - 1; i > 0; --i) {
    strides[i - 1] = strides[i] * std::max<dnnl_dim_t>(1, dims[i]);
  }
  return {dims, type, strides};
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

Layout Machine::layout_of(const dnnl::memory::desc& desc) {
  // Grouped weights have a dimension more than their tensor: those layouts are of one size.
  return LayoutTable::instance().intern(desc.data, desc.data.ndims <= 4);
}

dnnl::memory::desc Machine::desc(const Meta& meta) const {
  const dnnl::memory::data_type type = to_onednn(meta.dtype);
  if (meta.layout.plain()) return plain_desc(dims_of(meta.shape), type);
  return dnnl::memory::desc(LayoutTable::instance().desc(meta, dnnl::memory::convert_to_c(type)));
}

Meta Machine::meta(const Shape& shape, const dnnl::memory::desc& desc) {
  const bool same_dims =
      std::ranges::equal(shape.dims(), std::span(desc.data.dims, static_cast<std::size_t>(desc.data.ndims)));
  Meta out{shape, from_onednn(desc.data.data_type), LayoutTable::instance().intern(desc.data, same_dims), 0};
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
    const dnnl::memory::desc bytes({kernel.scratchpad}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
    arguments.emplace(DNNL_ARG_SCRATCHPAD, memory(bytes, scratch));
  }
  checked([&] { kernel.primitive.execute(impl_->stream, arguments); });
}

dnnl::memory Machine::memory(const dnnl::memory::desc& desc, void* data) const {
  return checked([&] { return dnnl::memory(desc, impl_->engine, data); });
}

namespace {

// The plain side of a reorder takes the dimensions of the other one: grouped weights are [O, C/G, KH, KW] to users and
// [G, O/G, C/G, KH, KW] to kernels, the same elements in the same order.
std::pair<dnnl::memory::desc, dnnl::memory::desc> reorder_descs(const Machine& machine, const Meta& from,
                                                                const Meta& to) {
  std::pair descs(machine.desc(from), machine.desc(to));
  if (from.layout.plain()) descs.first = plain_desc(descs.second.dims(), descs.second.data_type());
  if (to.layout.plain()) descs.second = plain_desc(descs.first.dims(), descs.first.data_type());
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

dnnl::primitive_attr default_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

}  // namespace tidemark::compute
