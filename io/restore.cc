#include "io/restore.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "tidemark/error.h"
#include "tidemark/optim.h"

namespace tidemark::io {
namespace {

using detail::CheckpointPart;

std::string to_text(const FileTensor& tensor) {
  std::string text = std::string(to_string(tensor.type)) + " [";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

bool same_shape(const FileTensor& saved, const Tensor& own) {
  const auto dims = own.shape().dims();
  return std::equal(saved.shape.begin(), saved.shape.end(), dims.begin(), dims.end());
}

class Restoring {
 public:
  Restoring(const CheckpointFile& saved, const std::vector<CheckpointPart>& parts, SourceLocation where)
      : saved_(saved), parts_(parts), where_(where) {
    for (const FileTensor& tensor : saved.tensors().tensors()) left_.insert(tensor.name);
    left_.erase("checksums");
  }

  // What does not fit, a line each.
  std::string compare(Session& session) {
    if (session.options().seed != saved_.run().seed) {
      wrong("the session's seed is " + std::to_string(session.options().seed) + ", and the run's was " +
            std::to_string(saved_.run().seed));
    }
    for (const CheckpointPart& part : parts_) {
      const auto& theirs = saved_.run().parts;
      const auto found =
          std::find_if(theirs.begin(), theirs.end(), [&](const RunState::Part& p) { return p.name == part.name; });
      if (found == theirs.end()) {
        wrong("there is no " + part.kind + " '" + part.name + "' in it");
        continue;
      }
      if (found->kind != part.kind) {
        wrong("'" + part.name + "' is a " + part.kind + " here, and a " + found->kind + " in it");
        continue;
      }
      if (found->identity != part.identity) {
        wrong("'" + part.name + "' is other data: " + part.identity + " here, and " + found->identity + " in it");
      }
      compare_tensors(part);
      compare_numbers(part);
    }
    for (const RunState::Part& part : saved_.run().parts) {
      const auto here = [&](const CheckpointPart& own) { return own.name == part.name; };
      if (std::any_of(parts_.begin(), parts_.end(), here)) continue;
      wrong("its " + part.kind + " '" + part.name + "' is not added here");
      std::erase_if(left_, [&](const std::string& name) { return name.starts_with(part.name); });
    }
    for (const std::string& name : left_) wrong("left over: " + name);
    return wrong_;
  }

  void run(Session& session) {
    for (const auto& [part, index, bytes] : to_make_) part->make(index, bytes);
    set_numbers();
    for (const CheckpointPart& part : parts_) {
      freeze(part);
      fill(part);
      if (!part.counters) continue;
      for (const auto& [name, value] : part.counters()) {
        saved_.tensors().read(*saved_.tensors().find(part.name + "." + name), 0, 1, value, where_);
      }
    }
    detail::set_random_ordinal(session, saved_.run().step, saved_.run().random_ordinal, where_);
  }

 private:
  void wrong(const std::string& text) { wrong_ += "\n  " + text; }

  const FileTensor* take(const std::string& name) {
    const FileTensor* tensor = saved_.tensors().find(name);
    if (tensor != nullptr) left_.erase(name);
    return tensor;
  }

  void compare_tensors(const CheckpointPart& part) {
    const auto tensors = named_tensors(part);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, own] = tensors[i];
      const FileTensor* tensor = take(name);
      if (part.fits) {
        // A state that was not made by then is one before the first step.
        if (tensor == nullptr) continue;
        if (tensor->type != StoredType::kU8 || tensor->shape.size() != 1 || !part.fits(i, tensor->bytes)) {
          wrong("of another size: " + name + " is " + to_text(*tensor) + " in it, which this optimizer's is not");
        } else {
          to_make_.emplace_back(&part, i, tensor->bytes);
        }
      } else if (tensor == nullptr) {
        wrong("missing: " + name + " " + own.shape().to_string());
      } else if (tensor->type != StoredType::kF32 || !same_shape(*tensor, own)) {
        wrong("of another shape: " + name + " is " + to_text(*tensor) + " in it, and " + own.shape().to_string() +
              " here");
      }
    }
    if (!part.counters) return;
    for (const auto& [name, value] : part.counters()) {
      const FileTensor* tensor = take(part.name + "." + name);
      if (tensor == nullptr || tensor->type != StoredType::kI64 || tensor->elements != 1) {
        wrong("missing: " + part.name + "." + name);
      }
    }
  }

  void compare_numbers(const CheckpointPart& part) {
    if (!part.numbers) return;
    left_.erase(numbers_name(part.name));
    auto numbers = saved_.numbers(part.name, where_);
    // How many there are may follow from what they say, as that of a confusion matrix does not, so that who takes them
    // has the last word; but a part without any is another kind of thing.
    if (!numbers || (numbers->empty() && !part.numbers().empty())) {
      wrong("the numbers of '" + part.name + "' are missing");
      return;
    }
    numbers_.emplace_back(&part, *std::move(numbers));
  }

  // All of them, or none.
  void set_numbers() {
    std::vector<std::pair<const CheckpointPart*, std::vector<double>>> before;
    try {
      for (const auto& [part, numbers] : numbers_) {
        before.emplace_back(part, part->numbers());
        part->set_numbers(numbers);
      }
    } catch (...) {
      for (auto each = before.rbegin(); each != before.rend(); ++each) {
        try {
          each->first->set_numbers(each->second);
        } catch (const Error&) {
          // The one that refused: it has what it had.
        }
      }
      throw;
    }
  }

  void freeze(const CheckpointPart& part) {
    if (!part.parameters) return;
    const auto& theirs = saved_.run().parts;
    const auto found =
        std::find_if(theirs.begin(), theirs.end(), [&](const RunState::Part& p) { return p.name == part.name; });
    const std::set<std::string> frozen(found->frozen.begin(), found->frozen.end());
    for (Parameter& own : part.parameters()) {
      own.zero_grad(where_);  // a checkpoint has none
      const bool on = !frozen.contains(own.name());
      if (own.requires_grad() != on) own.set_requires_grad(on, where_);
    }
  }

  void fill(const CheckpointPart& part) {
    for (const auto& [name, own] : named_tensors(part)) {
      if (!own.defined()) continue;
      const FileTensor* tensor = saved_.tensors().find(name);
      detail::fill_leaf(
          own,
          [&, bytes = own.numel() * size_of(own.dtype())](std::byte* to) {
            if (tensor == nullptr) {
              std::fill_n(to, bytes, std::byte{0});
            } else {
              saved_.tensors().read(*tensor, 0, tensor->elements, to, where_);
            }
          },
          where_);
    }
  }

  const CheckpointFile& saved_;
  const std::vector<CheckpointPart>& parts_;
  SourceLocation where_;
  std::set<std::string> left_;  // names of the file that no part has taken
  std::string wrong_;
  struct Make {
    const CheckpointPart* part;
    std::size_t index;
    std::int64_t bytes;
    Make(const CheckpointPart* the_part, std::size_t the_index, std::int64_t the_bytes)
        : part(the_part), index(the_index), bytes(the_bytes) {}
  };
  std::vector<Make> to_make_;
  std::vector<std::pair<const CheckpointPart*, std::vector<double>>> numbers_;
};

}  // namespace

RunState run_state(Session& session, const std::vector<CheckpointPart>& parts) {
  RunState run{.step = session.step(),
               .random_ordinal = detail::random_ordinal(session),
               .seed = session.options().seed,
               .threads = session.options().threads,
               .instructions = instructions_here()};
  for (const CheckpointPart& part : parts) {
    RunState::Part& own = run.parts.emplace_back(RunState::Part{part.name, part.kind, part.identity, {}});
    if (!part.parameters) continue;
    for (const Parameter& each : part.parameters()) {
      if (!each.requires_grad()) own.frozen.push_back(each.name());
    }
  }
  return run;
}

Resumed restore(const CheckpointFile& saved, const std::string& file, const std::vector<CheckpointPart>& parts,
                SourceLocation where) {
  Session& session = Session::current();
  Restoring restoring(saved, parts, where);
  if (const std::string wrong = restoring.compare(session); !wrong.empty()) {
    throw Error("[resume] " + file + " is of another run:" + wrong + "\n(at " + to_string(where) + ")");
  }
  restoring.run(session);
  Resumed resumed{.file = file, .step = saved.run().step};
  const RunState here = run_state(session, {});
  if (here.threads != saved.run().threads) {
    resumed.warnings.push_back("the run had " + std::to_string(saved.run().threads) + " threads, and there are " +
                               std::to_string(here.threads) + ": bits may differ");
  }
  if (here.instructions != saved.run().instructions) {
    resumed.warnings.push_back("the run was on " + saved.run().instructions + ", and this is " + here.instructions +
                               ": bits may differ");
  }
  return resumed;
}

}  // namespace tidemark::io
