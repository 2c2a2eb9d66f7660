// What the tests of layers share.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tidemark/nn/module.h"
#include "tidemark/session.h"

namespace tidemark::nn::test {

inline std::vector<std::string> names(const std::vector<Parameter>& parameters) {
  std::vector<std::string> out;
  for (const Parameter& parameter : parameters) out.push_back(parameter.name());
  return out;
}

// What `program` returns, and that it returns the same bits in budgets of so many tenths of what it takes beyond its
// fixed bytes, each of them small enough for something to be computed again. The program is run in sessions of its own.
template <class Program>
std::vector<std::vector<float>> expect_equal_bits_in_budgets(const Program& program, std::span<const int> tenths) {
  std::vector<std::vector<float>> plain;
  std::int64_t fixed = 0;
  std::int64_t peak = 0;
  {
    Session session({.threads = 2, .seed = 3});
    plain = program();
    fixed = session.report().fixed_bytes;
    peak = session.report().peak_bytes;
  }
  for (const int part : tenths) {
    const std::int64_t budget = fixed + (peak - fixed) * part / 10;
    SCOPED_TRACE(budget);
    Session session({.budget = budget, .threads = 2, .seed = 3, .verify_replay = true});
    const std::vector<std::vector<float>> limited = program();
    const Report report = session.report();
    EXPECT_LE(report.peak_bytes, budget);
    EXPECT_GT(report.recomputed_ops, 0);
    if (limited.size() != plain.size()) {
      ADD_FAILURE() << limited.size() << " values in place of " << plain.size();
      continue;
    }
    for (std::size_t k = 0; k < plain.size(); ++k) {
      const bool equal = limited[k].size() == plain[k].size() &&
                         std::memcmp(limited[k].data(), plain[k].data(), plain[k].size() * sizeof(float)) == 0;
      EXPECT_TRUE(equal) << k;
    }
  }
  return plain;
}

}  // namespace tidemark::nn::test
