// Synthetic data of any sizes: they are refused, or an example is what its shape says, and the same again.
#include <algorithm>

#include "tests/fuzz/sources.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

std::int64_t any_size(fuzz::Input& input) {
  return input.flag() ? input.number(0, 40) : static_cast<std::int64_t>(input.word() >> input.number(0, 63));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const bool images = input.flag();
  const data::Split split = input.flag() ? data::Split::kTest : data::Split::kTrain;
  const std::int64_t count = any_size(input);
  const std::int64_t first = any_size(input);
  const std::int64_t second = any_size(input);
  const std::int64_t classes = any_size(input);
  const std::uint64_t seed = input.word();
  const auto index = static_cast<std::int64_t>(input.word() >> 1);
  const auto epoch = static_cast<std::int64_t>(input.word());
  std::shared_ptr<const data::Source> source;
  std::int64_t elements = 0;
  try {
    source =
        images ? data::synthetic_images(
                     {.count = count, .channels = first, .image = second, .classes = classes, .seed = seed}, split)
               : data::synthetic_tokens({.count = count, .context = first, .vocabulary = classes, .seed = seed}, split);
    elements = source->x_shape().numel();
  } catch (const Error&) {
    return 0;
  }
  require(source->size() > 0, "a source has examples");
  if (elements > 100'000) return 0;
  const std::int64_t at = index % source->size();
  const fuzz::Example example = fuzz::read_example(*source, at, epoch);
  require(example == fuzz::read_example(*source, at, epoch), "an example is the same when it is read again");
  for (std::size_t i = 0; i < example.y.size(); i += sizeof(std::int32_t)) {
    std::int32_t target = -1;
    std::memcpy(&target, example.y.data() + i, sizeof target);
    require(target >= 0 && target < classes, "a class is one of them");
  }
  return 0;
}
