// Budgets of graph files: bytes, sizes with a unit, or a part of the graph's peak.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tidemark::tools {

inline constexpr const char* kBudgetForms = "bytes, 512MiB, ..., or 40% of the peak without recomputation";

// Throws UsageError.
std::int64_t budget_of(const std::string& text, std::int64_t peak);

// "a,b,c".
std::vector<std::string> split(const std::string& text);

}  // namespace tidemark::tools
