// A folder of any files as CIFAR-10: it is refused, or every example is one; packed files read as the plain ones do.
#include <string>

#include "tests/fuzz/packed.h"
#include "tests/fuzz/sources.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

std::shared_ptr<const data::Source> read(const std::string& dir, data::Split split) {
  try {
    return data::cifar10_source(dir, split);
  } catch (const FileError& error) {
    require(std::string(error.what()).starts_with(dir), "an error names the file");
    return nullptr;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr const char* kNames[] = {
      "data_batch_1.bin", "data_batch_2.bin", "test_batch.bin", "train.bin", "a-test.bin", ".bin", "data_batch_.txt"};
  fuzz::Input input(data, size);
  const data::Split split = input.flag() ? data::Split::kTest : data::Split::kTrain;
  const std::filesystem::path plain = fuzz::folder() / "plain";
  const std::filesystem::path packed = fuzz::folder() / "packed";
  const std::filesystem::path damaged = fuzz::folder() / "damaged";
  for (const auto& dir : {plain, packed, damaged}) {
    std::filesystem::remove_all(dir);
    std::filesystem::create_directories(dir);
  }
  for (int files = input.number(0, 3); files > 0; --files) {
    const std::string name = kNames[input.number(0, 6)];
    const std::vector<std::uint8_t> content = fuzz::unpack(input);
    fuzz::write_file(plain / name, content);
    fuzz::write_file(packed / (name + ".gz"), fuzz::gzip(content));
  }
  fuzz::write_file(damaged / "train-test.bin.gz", input.rest());

  fuzz::require_same_images(read(plain, split), read(packed, split));
  if (const auto luck = read(damaged, split)) fuzz::require_images(*luck);
  return 0;
}
