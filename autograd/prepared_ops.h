// What ops answered to prepare(), kept by signature: attributes, metas of the inputs, and which of them need gradients.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "compute/machine.h"
#include "tidemark/op.h"

namespace tidemark::detail {

class PreparedOps {
 public:
  explicit PreparedOps(compute::Machine& machine) : machine_(machine) {}

  // Asks the op where the answer is not known, and checks it. Throws what the op throws, with the user's line.
  std::shared_ptr<const Prepared> get(const AnyOp& op, const std::string& attributes, std::span<const Meta> inputs,
                                      Needs needs, SourceLocation where);

 private:
  compute::Machine& machine_;
  std::unordered_map<std::string, std::shared_ptr<const Prepared>> known_;
  std::deque<std::string> order_;  // the oldest go first
};

}  // namespace tidemark::detail
