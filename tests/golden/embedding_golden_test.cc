#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Embedding) {
  check_family("embedding", {{"rows", [](const Inputs& in) { return embedding(in[1], in[0]); }}});
}

}  // namespace
}  // namespace tidemark::test
