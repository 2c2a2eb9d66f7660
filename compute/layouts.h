// The layouts of the process: what a Layout's number stands for.
#pragma once

#include <array>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "compute/onednn.h"
#include "tidemark/meta.h"

namespace tidemark::compute {

// A layout without its sizes, so that one serves every shape and the table stays small in programs whose shapes vary:
// the order of the dimensions, outermost first, or oneDNN's name of a layout with blocks.
struct Format {
  int rank = 0;
  std::array<int, Shape::kMaxRank> order{};
  FormatTag tag = FormatTag::undef;  // undef: no blocks
  friend bool operator==(const Format&, const Format&) = default;
};

// Plain row-major is layout 0; entry i of the table is layout i + 1.
class LayoutTable {
 public:
  static LayoutTable& instance();

  // `by_format`: the value's shape has the descriptor's dimensions, so that the format says everything.
  Layout intern(const Desc& desc, bool by_format);
  // The descriptor of a value that is not plain.
  Desc desc(const Meta& meta, dnnl::memory::data_type type);

 private:
  struct Entry {
    std::optional<Format> format;  // none: this one descriptor
    Desc exact;
  };

  std::optional<Format> format_of(const Desc& desc);
  std::optional<FormatTag> tag_of(const Desc& desc, const Places& places);

  // The tags of a rank and sequence of blocks, in oneDNN's order.
  struct Tags {
    int rank;
    std::vector<Places::Block> blocks;
    std::vector<FormatTag> tags;
  };

  std::mutex mutex_;
  std::deque<Entry> entries_;
  std::deque<Tags> tags_;
};

}  // namespace tidemark::compute
