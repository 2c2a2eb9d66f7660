// Any file as a text of any options: it is refused, or rows are what the file holds, and targets follow the tokens.
#include <bit>
#include <string>

#include "tests/fuzz/sources.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

std::int32_t token(const std::vector<std::uint8_t>& row, std::int64_t index) {
  std::int32_t value = 0;
  std::memcpy(&value, row.data() + index * std::int64_t{sizeof value}, sizeof value);
  return value;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  data::TextOptions options;
  options.context = input.flag() ? input.number(0, 40) : static_cast<std::int64_t>(input.word());
  options.holdout = input.flag() ? input.number(0, 100) / 100.0 : std::bit_cast<double>(input.word());
  options.seed = input.word();
  const data::Split split = input.flag() ? data::Split::kTest : data::Split::kTrain;
  const auto epoch = static_cast<std::int64_t>(input.word());
  const auto content = input.rest();
  const fuzz::MemoryFile file(content);
  std::shared_ptr<const data::Source> source;
  try {
    source = data::text_source(file.path(), split, options);
  } catch (const Error&) {
    return 0;
  }
  require(source->size() > 0 && source->x_shape().numel() == options.context, "a source has rows");
  const std::string all(content.begin(), content.end());
  for (std::int64_t i = 0; i < source->size(); ++i) {
    const fuzz::Example row = fuzz::read_example(*source, i, epoch);
    std::string text;
    for (std::int64_t t = 0; t < options.context; ++t) {
      text += static_cast<char>(token(row.x, t));
      if (t > 0) require(token(row.x, t) == token(row.y, t - 1), "a target is the next token");
    }
    text += static_cast<char>(token(row.y, options.context - 1));
    require(all.find(text) != std::string::npos, "a row is a part of the file");
  }
  return 0;
}
