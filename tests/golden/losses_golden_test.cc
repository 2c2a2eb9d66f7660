#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Loss) {
  const Function function = [](const Inputs& in) { return cross_entropy(in[0], in[1]); };
  check_family("loss", {{"cross_entropy", function},
                        {"cross_entropy_sequence", function},
                        {"mse", [](const Inputs& in) { return mse_loss(in[0], in[1]); }}});
}

}  // namespace
}  // namespace tidemark::test
