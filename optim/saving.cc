// What checkpoints keep of an optimizer.
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "optim/kernels.h"
#include "optim/update.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

constexpr std::size_t kHead = 3;    // steps, sets, parameters
constexpr std::size_t kPerSet = 7;  // settings, and the proportion of the rate, or -1

}  // namespace

std::vector<double> Optimizer::numbers() const {
  std::vector<double> numbers = {static_cast<double>(steps_), static_cast<double>(sets_.size()),
                                 static_cast<double>(slots_.size())};
  for (const Set& set : sets_) {
    const Settings& now = set.now;
    for (const float value : {now.lr, now.momentum, now.beta1, now.beta2, now.eps, now.weight_decay}) {
      numbers.push_back(static_cast<double>(value));
    }
    numbers.push_back(set.proportion.value_or(-1));
  }
  for (const Slot& slot : slots_) numbers.push_back(static_cast<double>(slot.steps));
  return numbers;
}

void Optimizer::set_numbers(std::span<const double> numbers, SourceLocation where) {
  const std::size_t expected = kHead + kPerSet * sets_.size() + slots_.size();
  if (numbers.size() != expected || numbers[1] != static_cast<double>(sets_.size()) ||
      numbers[2] != static_cast<double>(slots_.size())) {
    fail("what was saved is of other groups or another number of parameters: there are " +
             std::to_string(sets_.size() - 1) + " groups and " + std::to_string(slots_.size()) + " parameters here",
         where);
  }
  const auto count = [&](double number) {
    if (number != std::floor(number)) fail("what was saved holds a count that is none", where);
    check_count(static_cast<std::int64_t>(number), where);
    return static_cast<std::int64_t>(number);
  };
  std::vector<Set> sets = sets_;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const std::span<const double> saved = numbers.subspan(kHead + kPerSet * i, kPerSet);
    for (const double value : saved) {
      if (!std::isfinite(value)) fail("what was saved holds a setting that is not finite", where);
    }
    sets[i].now = {static_cast<float>(saved[0]), static_cast<float>(saved[1]), static_cast<float>(saved[2]),
                   static_cast<float>(saved[3]), static_cast<float>(saved[4]), static_cast<float>(saved[5])};
    sets[i].proportion = saved[6] < 0 ? std::nullopt : std::optional(saved[6]);
  }
  std::vector<std::int64_t> counts;
  for (const double number : numbers.subspan(kHead + kPerSet * sets.size())) counts.push_back(count(number));
  const std::int64_t steps = count(numbers[0]);
  sets_ = std::move(sets);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].steps = counts[i];
    slots_[i].health->bad_since = 0;
  }
  steps_ = steps;
  broken_.clear();
}

std::vector<Parameter> Optimizer::all_state() const {
  std::vector<Parameter> result;
  for (const Slot& slot : slots_) result.emplace_back(slot.state, slot.name + "." + kind_);
  return result;
}

bool Optimizer::state_fits(std::size_t index, std::int64_t bytes) const {
  const Slot& slot = slots_[index];
  const int moments = sets_[slot.set].moments;
  const std::int64_t n = slot.parameter.numel();
  const bool table = slot.parameter.shape().rank() == 2;
  return moments > 0 && (bytes == state_bytes(format_of(state_), moments, n) ||
                         (table && bytes == state_bytes(format_of(state_), moments, n, slot.parameter.size(1))));
}

void Optimizer::make_state(std::size_t index, std::int64_t bytes, SourceLocation where) {
  Slot& slot = slots_[index];
  if (slot.state.defined() && slot.state.numel() == bytes) return;
  slot.state = Tensor();
  const bool plain = bytes == state_bytes(format_of(state_), sets_[slot.set].moments, slot.parameter.numel());
  slot.width = plain ? 0 : slot.parameter.size(1);
  slot.state = tidemark::state({bytes}, u8, Category::kOptimizer, slot.name + "." + kind_, where);
}

}  // namespace tidemark::optim
