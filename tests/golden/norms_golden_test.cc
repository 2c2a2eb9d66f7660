#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Norm) {
  const auto batch = [](bool training) {
    return
        [training](const Inputs& in) { return batch_norm(in[0], in[1], in[2], in[3], in[4], {.training = training}); };
  };
  check_family("norm", {{"batch_image_train", batch(true)},
                        {"batch_image_eval", batch(false)},
                        {"batch_features_train", batch(true)},
                        {"batch_features_eval", batch(false)},
                        {"layer", [](const Inputs& in) { return layer_norm(in[0], in[1], in[2]); }}});
}

}  // namespace
}  // namespace tidemark::test
