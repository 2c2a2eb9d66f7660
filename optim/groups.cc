// The values that may differ from parameter to parameter and change between steps.
#include <cmath>
#include <string>

#include "optim/update.h"
#include "tidemark/optim.h"

namespace tidemark::optim {
namespace {

struct Setting {
  const char* name;
  std::optional<float> Group::*given;
  float Settings::*now;
  bool (*allowed)(float value);
  const char* text;
};

bool from_0(float value) { return value >= 0 && std::isfinite(value); }
bool above_0(float value) { return value > 0 && std::isfinite(value); }
bool below_1(float value) { return value >= 0 && value < 1; }

constexpr Setting kSettings[] = {
    {"lr", &Group::lr, &Settings::lr, from_0, "lr must be 0 or more"},
    {"momentum", &Group::momentum, &Settings::momentum, below_1, "momentum must be from 0 to below 1"},
    {"beta1", &Group::beta1, &Settings::beta1, below_1, "beta1 must be from 0 to below 1"},
    {"beta2", &Group::beta2, &Settings::beta2, below_1, "beta2 must be from 0 to below 1"},
    {"eps", &Group::eps, &Settings::eps, above_0, "eps must be above 0"},
    {"weight_decay", &Group::weight_decay, &Settings::weight_decay, from_0, "weight_decay must be 0 or more"},
};

std::string group_name(const Group& group, std::size_t index) {
  return group.pattern.empty() ? "group " + std::to_string(index) : group.pattern;
}

bool holds(const Group& group, const Parameter& parameter) {
  if (group.parameters.empty()) return matches(parameter.name(), group.pattern);
  for (const Parameter& own : group.parameters) {
    if (own.same(parameter)) return true;
  }
  return false;
}

}  // namespace

// Changes values, all that are given or none.
void Optimizer::change(Set& set, const Group& changes, SourceLocation where) const {
  Settings now = set.now;
  const std::string of = set.name.empty() ? "" : "group '" + set.name + "': ";
  for (const Setting& setting : kSettings) {
    const std::optional<float>& value = changes.*setting.given;
    if (!value) continue;
    if (!(has_.*setting.given)) fail(of + "there is no " + setting.name + " in " + kind_, where);
    require_option(setting.allowed(*value), kind_, of + setting.text, *value, where);
    now.*setting.now = *value;
  }
  set.now = now;
}

void Optimizer::make_sets(const Config& config, const std::vector<Parameter>& parameters, SourceLocation where) {
  sets_.emplace_back();
  change(sets_[0], config.defaults, where);
  sets_[0].moments = moments_(sets_[0].now);
  for (const Group& group : config.groups) {
    Set set = sets_[0];
    set.name = group_name(group, sets_.size() - 1);
    for (const Set& other : sets_) {
      if (other.name == set.name) fail("there are two groups '" + set.name + "'", where);
    }
    change(set, group, where);
    set.moments = moments_(set.now);
    if (group.lr && lr() > 0) set.proportion = static_cast<double>(*group.lr) / static_cast<double>(lr());
    if (!group.lr) set.proportion = 1;
    for (const Parameter& own : group.parameters) {
      bool known = false;
      for (const Parameter& parameter : parameters) known = known || parameter.same(own);
      if (!known) fail("group '" + set.name + "': '" + own.name() + "' is not a parameter of this optimizer", where);
    }
    bool any = false;
    for (Slot& slot : slots_) {
      // Tied parameters have a name for each place where they are used.
      bool held = false;
      for (const Parameter& parameter : parameters) {
        held = held || (parameter.same(slot.parameter) && holds(group, parameter));
      }
      if (!held) continue;
      if (slot.set != 0) {
        fail("'" + slot.name + "' is in two groups, '" + sets_[slot.set].name + "' and '" + set.name + "'", where);
      }
      slot.set = sets_.size();
      any = true;
    }
    if (!any) {
      fail("group '" + set.name + "' matches no parameter; there are: " + names_of_some(parameters), where);
    }
    sets_.push_back(set);
  }
}

std::size_t Optimizer::find_set(std::string_view group, SourceLocation where) const {
  std::string names;
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    if (sets_[i].name == group) return i;
    if (i > 0) names += (i > 1 ? ", '" : "'") + sets_[i].name + "'";
  }
  fail("there is no group '" + std::string(group) + "'; there are: " + (names.empty() ? "none" : names), where);
}

Settings Optimizer::settings(std::string_view group, SourceLocation where) const {
  return sets_[find_set(group, where)].now;
}

void Optimizer::set_lr(float lr, SourceLocation where) {
  std::vector<Set> changed = sets_;
  change(changed[0], {.lr = lr}, where);
  for (std::size_t i = 1; i < changed.size(); ++i) {
    Set& set = changed[i];
    if (set.proportion) change(set, {.lr = static_cast<float>(static_cast<double>(lr) * *set.proportion)}, where);
  }
  sets_ = std::move(changed);
}

void Optimizer::set_momentum(float momentum, SourceLocation where) {
  if (!has_.momentum && !has_.beta1) fail("there is no momentum to set", where);
  const Group changes = has_.momentum ? Group{.momentum = momentum} : Group{.beta1 = momentum};
  std::vector<Set> changed = sets_;
  for (Set& set : changed) {
    change(set, changes, where);
    if (moments_(set.now) > set.moments) fail("it was made without momentum, so it has no state for one", where);
  }
  sets_ = std::move(changed);
}

void Optimizer::set(const Group& changes, SourceLocation where) {
  if (!changes.parameters.empty()) fail("set() names a group by its pattern, not by parameters", where);
  const std::size_t index = find_set(changes.pattern, where);
  Set changed = sets_[index];
  change(changed, changes, where);
  if (moments_(changed.now) > changed.moments) fail("it was made without momentum, so it has no state for one", where);
  if (changes.lr && index > 0) {
    changed.proportion.reset();
    if (lr() > 0) changed.proportion = static_cast<double>(*changes.lr) / static_cast<double>(lr());
  }
  // The first set's values are its own here, and the others' proportions to it are new: set_lr() is for all.
  if (changes.lr && index == 0 && *changes.lr > 0) {
    for (std::size_t i = 1; i < sets_.size(); ++i) {
      sets_[i].proportion = static_cast<double>(sets_[i].now.lr) / static_cast<double>(*changes.lr);
    }
  }
  sets_[index] = std::move(changed);
}

}  // namespace tidemark::optim
