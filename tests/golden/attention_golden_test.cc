#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Attention) {
  check_family("attention", {{"two_heads", [](const Inputs& in) { return causal_self_attention(in[0], 2); }},
                             {"one_head", [](const Inputs& in) { return causal_self_attention(in[0], 1); }}});
}

}  // namespace
}  // namespace tidemark::test
