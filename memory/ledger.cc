#include "memory/ledger.h"

#include <stdexcept>
#include <string>

namespace tidemark::memory {

void Ledger::add(Category category, std::int64_t bytes) {
  live_[static_cast<std::size_t>(category)] += bytes;
  total_ += bytes;
  if (total_ > peak_.total) peak_ = {total_, live_};
  if (total_ > step_peak_.total) step_peak_ = {total_, live_};
}

void Ledger::remove(Category category, std::int64_t bytes) {
  std::int64_t& live = live_[static_cast<std::size_t>(category)];
  if (bytes > live) {
    throw std::logic_error("ledger: " + std::to_string(bytes) + " bytes of " + to_string(category) + " given back, " +
                           std::to_string(live) + " held");
  }
  live -= bytes;
  total_ -= bytes;
}

}  // namespace tidemark::memory
