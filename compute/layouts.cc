#include "compute/layouts.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace tidemark::compute {
namespace {

// The format that gives just this descriptor; none where padding or strides follow no rule.
std::optional<Format> format_of(const Desc& desc) {
  const Places places = places_of(desc);
  if (!places.simple || places.rank() > Shape::kMaxRank) return {};
  Format format{.order = std::vector<int>(places.dims.size()), .blocks = places.blocks};
  const auto fits = [&] {
    const Desc built = layout_in(format, places.dims, type_of(desc));
    return built && same_places(places_of(built), places);
  };
  // Sizes of 1 leave the order open: plain first, then channels last, then whatever the strides say.
  const auto begin = format.order.begin();
  const auto end = format.order.end();
  std::iota(begin, end, 0);
  if (fits()) return format;
  if (places.rank() > 2) {
    std::rotate(begin + 1, begin + 2, end);
    if (fits()) return format;
    std::rotate(begin + 1, end - 1, end);
  }
  std::stable_sort(begin, end, [&](int a, int b) {
    return places.strides[static_cast<std::size_t>(a)] > places.strides[static_cast<std::size_t>(b)];
  });
  if (fits()) return format;
  return {};
}

bool plain(const Format& format) {
  return format.blocks.empty() && std::is_sorted(format.order.begin(), format.order.end());
}

}  // namespace

LayoutTable& LayoutTable::instance() {
  static LayoutTable table;
  return table;
}

Layout LayoutTable::intern(const Desc& desc, bool by_format) {
  std::optional<Format> format = format_of(desc);
  if (format && plain(*format)) return Layout{};
  if (!by_format) format.reset();
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const bool same =
        format ? entry.format == format
               : !entry.format && (entry.exact == desc || same_places(places_of(entry.exact), places_of(desc)));
    if (same) return Layout{static_cast<std::uint32_t>(i + 1)};
  }
  entries_.push_back({format, desc});
  return Layout{static_cast<std::uint32_t>(entries_.size())};
}

Desc LayoutTable::desc(const Meta& meta, dnnl::memory::data_type type) {
  const std::lock_guard lock(mutex_);
  if (meta.layout.id == 0 || meta.layout.id > entries_.size()) throw Error("a layout that no kernel made");
  const Entry& entry = entries_[meta.layout.id - 1];
  if (!entry.format) return entry.exact;
  if (static_cast<int>(entry.format->order.size()) != meta.shape.rank())
    throw Error("a layout on a shape of another rank");
  return layout_in(*entry.format, {meta.shape.dims().begin(), meta.shape.dims().end()}, type);
}

}  // namespace tidemark::compute
