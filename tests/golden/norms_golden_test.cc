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

TEST(Golden, NormMore) {
  check_family("norm_more",
               {{"batch_sequence", [](const Inputs& in) { return batch_norm(in[0], in[1], in[2], in[3], in[4]); }},
                {"batch_plain", [](const Inputs& in) { return batch_norm(in[0], {}, {}, {}, {}); }},
                {"layer_dims", [](const Inputs& in) { return layer_norm(in[0], in[1], in[2], {.dims = 2}); }},
                {"layer_plain", [](const Inputs& in) { return layer_norm(in[0], {}, {}); }},
                {"group", [](const Inputs& in) { return group_norm(in[0], 3, in[1], in[2]); }},
                {"group_plain", [](const Inputs& in) { return group_norm(in[0], 2); }},
                {"instance", [](const Inputs& in) { return instance_norm(in[0], in[1], in[2]); }},
                {"instance_plain", [](const Inputs& in) { return instance_norm(in[0]); }},
                {"rms", [](const Inputs& in) { return rms_norm(in[0], in[1]); }}});
}

}  // namespace
}  // namespace tidemark::test
