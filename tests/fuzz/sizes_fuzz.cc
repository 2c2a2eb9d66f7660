// Any text as a size or a budget: what is read of it is a size that can be written and read again.
#include <string>

#include "tests/fuzz/input.h"
#include "tidemark/error.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/options.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto bits = static_cast<std::int64_t>(input.word());
  const std::string text = input.line();
  (void)format_bytes(bits);
  (void)format_bytes_up(bits);
  try {
    const std::int64_t bytes = parse_bytes(text);
    require(bytes >= 0, "a size is not negative");
    require(parse_bytes(std::to_string(bytes)) == static_cast<std::int64_t>(static_cast<double>(bytes)),
            "a whole number is read as it is");
    require(parse_bytes(format_bytes_up(bytes)) >= bytes, "rounded up is not less");
  } catch (const Error& error) {
    require(std::string(error.what()).starts_with("'" + text + "'"), "an error shows what was said");
  }
  const std::int64_t peak = bits & ((std::int64_t{1} << 53) - 1);  // of the largest graph that is read
  try {
    const std::int64_t budget = tools::budget_of(text, peak);
    require(budget >= 0 && (text.ends_with('%') ? budget <= 10 * peak : budget == parse_bytes(text)),
            "a budget is what was said");
  } catch (const tools::UsageError& error) {
    require(std::string(error.what()).find(text) != std::string::npos, "an error shows what was said");
  }
  try {
    require(tools::training_budget(text).value_or(1) > 0, "a budget is more than nothing");
  } catch (const tools::UsageError&) {
  }
  return 0;
}
