// Sizes as people read them.
#include "tidemark/units.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace tidemark {
namespace {

TEST(UnitsTest, SizesAreInTheLargestUnitThatTheyFill) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1), "1 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1087), "1.1 KiB");
  EXPECT_EQ(format_bytes((1 << 20) - 60), "1023.9 KiB");
  EXPECT_EQ(format_bytes((1 << 20) - 1), "1.0 MiB");  // not 1024.0 KiB
  EXPECT_EQ(format_bytes(std::int64_t{5000} << 40), "5000.0 TiB");
}

TEST(UnitsTest, UpIsNeverLessThanTheSize) {
  EXPECT_EQ(format_bytes_up(0), "0 B");
  EXPECT_EQ(format_bytes_up(1), "1 B");
  EXPECT_EQ(format_bytes_up(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes_up(1025), "1.1 KiB");
  EXPECT_EQ(format_bytes_up((1 << 20) - 60), "1.0 MiB");
  for (std::int64_t bytes = 1; bytes < std::int64_t{1} << 40; bytes += bytes / 7 + 1) {
    EXPECT_GE(parse_bytes(format_bytes_up(bytes)), bytes);
  }
  const std::int64_t largest = (std::int64_t{1} << 62) - 1;
  EXPECT_EQ(parse_bytes(format_bytes_up(largest)), largest + 1);
}

}  // namespace
}  // namespace tidemark
