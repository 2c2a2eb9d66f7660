#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Shape) {
  check_family("shape", {{"transpose", [](const Inputs& in) { return transpose(in[0], 1, 2); }},
                         {"slice", [](const Inputs& in) { return slice(in[0], 1, 1, 3); }},
                         {"concat",
                          [](const Inputs& in) {
                            return concat({in[0], in[1]}, 1);
                          }},
                         {"flatten", [](const Inputs& in) { return flatten(in[0]); }}});
}

}  // namespace
}  // namespace tidemark::test
