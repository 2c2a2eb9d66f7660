#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Reduce) {
  check_family("reduce", {{"sum", [](const Inputs& in) { return sum(in[0]); }},
                          {"sum_dims",
                           [](const Inputs& in) {
                             return sum(in[0], {0, 2});
                           }},
                          {"mean", [](const Inputs& in) { return mean(in[0]); }},
                          {"mean_last", [](const Inputs& in) { return mean(in[0], {-1}); }}});
}

}  // namespace
}  // namespace tidemark::test
