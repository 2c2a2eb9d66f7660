#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, BadValues) {
  const auto batch = [](bool training) {
    return
        [training](const Inputs& in) { return batch_norm(in[0], in[1], in[2], in[3], in[4], {.training = training}); };
  };
  const Function loss = [](const Inputs& in) { return cross_entropy(in[0], in[1]); };
  check_family("bad_values", {{"max_pool", [](const Inputs& in) { return max_pool2d(in[0]); }},
                              {"max_pool_overlap",
                               [](const Inputs& in) {
                                 return max_pool2d(in[0], {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
                               }},
                              {"softmax", [](const Inputs& in) { return softmax(in[0]); }},
                              {"layer_norm", [](const Inputs& in) { return layer_norm(in[0], in[1], in[2]); }},
                              {"batch_norm_train", batch(true)},
                              {"batch_norm_eval", batch(false)},
                              {"cross_entropy_nan", loss},
                              {"cross_entropy_inf", loss},
                              {"cross_entropy_masked", loss},
                              {"cross_entropy_impossible", loss},
                              {"cross_entropy_all_masked", loss},
                              {"mse", [](const Inputs& in) { return mse_loss(in[0], in[1]); }},
                              {"sum_rows", [](const Inputs& in) { return sum(in[0], {0}); }},
                              {"linear", [](const Inputs& in) { return linear(in[0], in[1], in[2]); }}});
}

}  // namespace
}  // namespace tidemark::test
