// The program that the README opens with is examples/cifar10.cc, which is built with everything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace tidemark::test {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(std::string(TIDEMARK_SOURCE_DIR "/") + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Readme, OpensWithTheExample) {
  const std::string program = text_of("examples/cifar10.cc");
  ASSERT_FALSE(program.empty());
  EXPECT_THAT(text_of("README.md"), ::testing::HasSubstr("```cpp\n" + program + "```\n"));
}

}  // namespace
}  // namespace tidemark::test
