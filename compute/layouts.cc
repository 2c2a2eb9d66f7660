#include "compute/layouts.h"

#include <algorithm>
#include <utility>

namespace tidemark::compute {
namespace {

// Without blocks.
Desc ordered(const Format& format, const Dims& dims, dnnl::memory::data_type type) {
  Dims strides(dims.size(), 1);
  std::int64_t stride = 1;
  for (int i = format.rank - 1; i >= 0; --i) {
    const auto dim = static_cast<std::size_t>(format.order[static_cast<std::size_t>(i)]);
    strides[dim] = stride;
    stride *= std::max<std::int64_t>(1, dims[dim]);
  }
  return {dims, type, strides};
}

Desc build(const Format& format, const Dims& dims, dnnl::memory::data_type type) {
  return format.tag == FormatTag::undef ? ordered(format, dims, type) : tagged_layout(dims, type, format.tag);
}

bool plain(const Format& format) {
  return format.tag == FormatTag::undef && std::is_sorted(format.order.begin(), format.order.begin() + format.rank);
}

}  // namespace

LayoutTable& LayoutTable::instance() {
  static LayoutTable table;
  return table;
}

// Several tags may fit where dimensions are of size 1: the first one does, whatever was asked for before.
std::optional<FormatTag> LayoutTable::tag_of(const Desc& desc, const Places& places) {
  auto known = std::ranges::find_if(
      tags_, [&](const Tags& tags) { return tags.rank == places.rank() && tags.blocks == places.blocks; });
  if (known == tags_.end()) {
    Tags tags{places.rank(), places.blocks, {}};
    for (int i = dnnl_format_tag_any + 1; i < dnnl_format_tag_last; ++i) {
      const auto tag = static_cast<FormatTag>(i);
      const Desc candidate = tagged_layout(places.dims, desc.data_type(), tag);
      if (!candidate) continue;
      if (places_of(candidate).blocks == places.blocks) tags.tags.push_back(tag);
    }
    tags_.push_back(std::move(tags));
    known = tags_.end() - 1;
  }
  for (const FormatTag tag : known->tags) {
    if (same_places(places_of(tagged_layout(places.dims, desc.data_type(), tag)), places)) return tag;
  }
  return {};
}

// The format that gives just this descriptor; none where padding or strides follow no rule.
std::optional<Format> LayoutTable::format_of(const Desc& desc) {
  const Places places = places_of(desc);
  if (!places.simple || places.rank() > Shape::kMaxRank) return {};
  Format format;
  format.rank = places.rank();
  if (!places.blocks.empty()) {
    const std::optional<FormatTag> tag = tag_of(desc, places);
    if (!tag) return {};
    format.tag = *tag;
    return format;
  }
  const auto fits = [&] { return same_places(places_of(ordered(format, places.dims, desc.data_type())), places); };
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
  std::stable_sort(begin, end, [&](int a, int b) {
    return places.strides[static_cast<std::size_t>(a)] > places.strides[static_cast<std::size_t>(b)];
  });
  if (fits()) return format;
  return {};
}

Layout LayoutTable::intern(const Desc& desc, bool by_format) {
  const std::lock_guard lock(mutex_);
  std::optional<Format> format = format_of(desc);
  if (format && plain(*format)) return Layout{};
  if (!by_format) format.reset();
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
  if (entry.format->rank != meta.shape.rank()) throw Error("a layout on a shape of another rank");
  return build(*entry.format, {meta.shape.dims().begin(), meta.shape.dims().end()}, type);
}

}  // namespace tidemark::compute
