// The layouts of the process: what a Layout's number stands for.
#pragma once

#include <deque>
#include <mutex>
#include <optional>

#include "compute/onednn.h"
#include "tidemark/meta.h"

namespace tidemark::compute {

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

  std::mutex mutex_;
  std::deque<Entry> entries_;
};

}  // namespace tidemark::compute
