// The command where the system gives it little memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/tools/command.h"

namespace tidemark::test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// From too little for a session to enough for the training: a text or a result, and never a signal.
TEST(AddressSpace, TooLittleIsAnErrorAndNoCrash) {
  int refused = 0;
  int trained = 0;
  for (int kib = 60'000; kib <= 160'000; kib += 1'000) {
    const Outcome outcome =
        run_command("train --model small-cnn --width 16 --batch 8 --steps 2 --threads 2 --budget 16MiB",
                    "ulimit -v " + std::to_string(kib) + ";");
    if (outcome.code == 0) {
      ++trained;
    } else {
      ++refused;
      EXPECT_TRUE(outcome.code == 1 || outcome.code == 127) << kib << ": " << outcome.output;  // 127: no library fits
      EXPECT_THAT(outcome.output, AnyOf(HasSubstr("memory"), HasSubstr("starts"), HasSubstr("libraries"))) << kib;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(trained, 0);
}

}  // namespace
}  // namespace tidemark::test
