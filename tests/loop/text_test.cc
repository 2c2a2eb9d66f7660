// Texts in columns.
#include "loop/text.h"

#include "gtest/gtest.h"

namespace tidemark::loop {
namespace {

TEST(TextTest, ColumnsAreNeverTooFew) {
  EXPECT_EQ(columns("abc"), 3u);
  EXPECT_EQ(columns("\xe6\xbc\xa2"), 2u);  // a character of two columns
  EXPECT_EQ(columns("\xc3\xa4"), 2u);      // one of one, which might be two
}

TEST(TextTest, CutsBetweenCharacters) {
  EXPECT_EQ(cut("abc", 3), "abc");
  EXPECT_EQ(cut("abc", 2), "ab");
  EXPECT_EQ(cut("a\xe6\xbc\xa2z", 2), "a");
  EXPECT_EQ(cut("a\xe6\xbc\xa2z", 3), "a\xe6\xbc\xa2");
  EXPECT_EQ(cut("abc", 0), "");
}

}  // namespace
}  // namespace tidemark::loop
