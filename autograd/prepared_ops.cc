#include "autograd/prepared_ops.h"

#include "absl/strings/str_cat.h"
#include "autograd/check.h"

namespace tidemark::detail {
namespace {

// A training loop uses a few hundred; this bounds programs whose shapes never repeat.
constexpr std::size_t kLimit = 4096;

void append_key(std::string& key, const Meta& meta) {
  for (std::int64_t dim : meta.shape.dims()) absl::StrAppend(&key, dim, ",");
  absl::StrAppend(&key, ":", static_cast<int>(meta.dtype), ":", meta.layout.id, ";");
}

}  // namespace

std::shared_ptr<const Prepared> PreparedOps::get(const AnyOp& op, const std::string& attributes,
                                                 std::span<const Meta> inputs, Needs needs, SourceLocation where) {
  std::string key = absl::StrCat(std::string(op.name()), "(", attributes, ")", needs.bits(), ";");
  for (const Meta& meta : inputs) append_key(key, meta);
  if (const auto found = known_.find(key); found != known_.end()) return found->second;
  Prep prep(machine_, op.name(), where);
  std::shared_ptr<const Prepared> prepared;
  try {
    prepared = std::make_shared<const Prepared>(op.prepare(prep, inputs, needs));
    check_prepared(machine_, op.name(), *prepared, inputs, where);
  } catch (...) {
    rethrow_at(op.name(), where);
  }
  if (order_.size() >= kLimit) {
    known_.erase(order_.front());
    order_.pop_front();
  }
  order_.push_back(key);
  known_.emplace(std::move(key), prepared);
  return prepared;
}

}  // namespace tidemark::detail
