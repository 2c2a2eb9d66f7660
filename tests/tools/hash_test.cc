// The hash of tensors' bits that `tidemark train` writes for each step.
#include "tools/hash.h"

#include <xxhash.h>

#include <vector>

#include "gtest/gtest.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::tools {
namespace {

TEST(HashTest, IsXxh3OfTheElementsInRowMajorOrder) {
  const Session session({.threads = 1, .seed = 3});
  // A convolution's output lies in the kernel's own layout.
  const std::vector<Tensor> tensors = {conv2d(normal({2, 3, 8, 8}, 0, 1), normal({16, 3, 3, 3}, 0, 1), {}),
                                       normal({5}, 0, 1), tensor({1, 2, 3}, {3})};
  std::vector<std::byte> bytes;
  const auto append = [&](const auto& elements) {
    const auto view = std::as_bytes(std::span(elements));
    bytes.insert(bytes.end(), view.begin(), view.end());
  };
  append(tensors[0].to_vector());
  append(tensors[1].to_vector());
  append(tensors[2].to_vector<std::int32_t>());
  EXPECT_EQ(hash_bits(tensors), XXH3_64bits(bytes.data(), bytes.size()));
}

TEST(HashTest, HexadecimalHas16Digits) {
  EXPECT_EQ(to_hex(0x2d06800538d394c2u), "2d06800538d394c2");
  EXPECT_EQ(to_hex(10), "000000000000000a");
}

}  // namespace
}  // namespace tidemark::tools
