#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

struct Named {
  std::string name;
  LossReduction reduction;
};
const std::vector<Named>& reductions() {
  static const std::vector<Named> all = {
      {"mean", LossReduction::kMean}, {"sum", LossReduction::kSum}, {"none", LossReduction::kNone}};
  return all;
}

TEST(Golden, Loss) {
  const Function function = [](const Inputs& in) { return cross_entropy(in[0], in[1]); };
  check_family("loss", {{"cross_entropy", function},
                        {"cross_entropy_sequence", function},
                        {"mse", [](const Inputs& in) { return mse_loss(in[0], in[1]); }}});
}

TEST(Golden, ClassLoss) {
  std::map<std::string, Function> functions;
  for (const auto& [name, r] : reductions()) {
    const auto classes = [r = r](int ignored, float smoothing, bool weighted) {
      return [=](const Inputs& in) {
        return cross_entropy(in[0], in[1],
                             {.weight = weighted ? in[2] : Tensor(),
                              .ignore_index = ignored,
                              .label_smoothing = smoothing,
                              .reduction = r});
      };
    };
    functions[name] = classes(2, 0, false);
    functions[name + "_weighted"] = classes(2, 0, true);
    functions[name + "_smooth"] = classes(1, 0.2f, false);
    functions[name + "_smooth_weighted"] = classes(1, 0.2f, true);
    functions[name + "_nll"] = [r = r](const Inputs& in) {
      return nll_loss(in[0], in[1], {.weight = in[2], .ignore_index = 3, .reduction = r});
    };
    functions[name + "_linear"] = [r = r](const Inputs& in) {
      return linear_cross_entropy(in[0], in[1], in[2], in[3],
                                  {.ignore_index = 1, .label_smoothing = 0.1f, .reduction = r});
    };
    functions[name + "_probabilities"] = [r = r](const Inputs& in) {
      return cross_entropy(in[0], in[1], {.reduction = r});
    };
    functions[name + "_probabilities_smooth_weighted"] = [r = r](const Inputs& in) {
      return cross_entropy(in[0], in[1], {.weight = in[2], .label_smoothing = 0.3f, .reduction = r});
    };
    for (const int p : {1, 2}) {
      functions[name + "_multi_margin_" + std::to_string(p)] = [r = r, p](const Inputs& in) {
        return multi_margin_loss(in[0], in[1], {.p = p, .margin = 0.7f, .weight = in[2], .reduction = r});
      };
    }
  }
  functions["linear_plain"] = [](const Inputs& in) { return linear_cross_entropy(in[0], in[1], {}, in[2]); };
  check_family("class_loss", functions);
}

TEST(Golden, ElementLoss) {
  std::map<std::string, Function> functions;
  std::vector<Named> all = reductions();
  all.push_back({"batchmean", LossReduction::kBatchMean});
  for (const auto& [name, r] : all) {
    const auto add = [&](const std::string& suffix, Function function) {
      if (name != "batchmean" || suffix.starts_with("_kl")) functions[name + suffix] = std::move(function);
    };
    add("_l1", [r = r](const Inputs& in) { return l1_loss(in[0], in[1], {r}); });
    add("_mse", [r = r](const Inputs& in) { return mse_loss(in[0], in[1], {r}); });
    add("_smooth_l1", [r = r](const Inputs& in) { return smooth_l1_loss(in[0], in[1], {0.6f, r}); });
    add("_huber", [r = r](const Inputs& in) { return huber_loss(in[0], in[1], {0.6f, r}); });
    add("_bce", [r = r](const Inputs& in) { return binary_cross_entropy(in[0], in[1], {{}, r}); });
    add("_bce_weighted", [r = r](const Inputs& in) { return binary_cross_entropy(in[0], in[1], {in[2], r}); });
    add("_bce_logits", [r = r](const Inputs& in) {
      return binary_cross_entropy_with_logits(in[0], in[1], {{}, {}, r});
    });
    add("_bce_logits_weighted", [r = r](const Inputs& in) {
      return binary_cross_entropy_with_logits(in[0], in[1], {in[2], in[3], r});
    });
    add("_poisson",
        [r = r](const Inputs& in) { return poisson_nll_loss(in[0], in[1], {.full = true, .reduction = r}); });
    add("_poisson_plain", [r = r](const Inputs& in) {
      return poisson_nll_loss(in[0], in[1], {.log_input = false, .eps = 1e-3f, .reduction = r});
    });
    add("_gaussian",
        [r = r](const Inputs& in) { return gaussian_nll_loss(in[0], in[1], in[2], {.full = true, .reduction = r}); });
    add("_kl", [r = r](const Inputs& in) { return kl_div(in[0], in[1], {false, r}); });
    add("_kl_log", [r = r](const Inputs& in) { return kl_div(in[0], in[1], {true, r}); });
  }
  for (const std::string name : {"one", "rows", "columns", "each"}) {
    functions["pos_weight_" + name] = [](const Inputs& in) {
      return binary_cross_entropy_with_logits(in[0], in[1], {.pos_weight = in[2]});
    };
  }
  check_family("element_loss", functions);
}

TEST(Golden, MarginLoss) {
  std::map<std::string, Function> functions;
  for (const auto& [name, r] : reductions()) {
    functions[name + "_soft_margin"] = [r = r](const Inputs& in) { return soft_margin_loss(in[0], in[1], {r}); };
    functions[name + "_hinge"] = [r = r](const Inputs& in) { return hinge_embedding_loss(in[0], in[1], {0.5f, r}); };
    functions[name + "_ranking"] = [r = r](const Inputs& in) {
      return margin_ranking_loss(in[0], in[1], in[2], {0.5f, r});
    };
    functions[name + "_cosine"] = [r = r](const Inputs& in) {
      return cosine_embedding_loss(in[0], in[1], in[2], {0.1f, r});
    };
    for (const int p : {1, 2, 3}) {
      for (const bool swap : {false, true}) {
        functions[name + "_triplet_" + std::to_string(p) + (swap ? "_swap" : "")] = [r = r, p, swap](const Inputs& in) {
          return triplet_margin_loss(in[0], in[1], in[2],
                                     {.margin = 0.8f, .p = static_cast<float>(p), .swap = swap, .reduction = r});
        };
      }
    }
  }
  for (const int dim : {0, 1, -1}) {
    functions["similarity_" + std::to_string(dim)] = [dim](const Inputs& in) {
      return cosine_similarity(in[0], in[1], {.dim = dim});
    };
  }
  functions["similarity_short"] = [](const Inputs& in) {
    return cosine_similarity(in[0], in[1], {.dim = 0, .eps = 10});
  };
  const std::map<std::string, float> norms = {{"0.5", 0.5f}, {"1", 1}, {"1.5", 1.5f},
                                              {"2", 2},      {"4", 4}, {"inf", std::numeric_limits<float>::infinity()}};
  for (const auto& [name, p] : norms) {
    functions["distance_" + name] = [p = p](const Inputs& in) { return pairwise_distance(in[0], in[1], {.p = p}); };
  }
  functions["distance_kept"] = [](const Inputs& in) { return pairwise_distance(in[0], in[1], {.keepdim = true}); };
  check_family("margin_loss", functions);
}

TEST(Golden, Ctc) {
  std::map<std::string, Function> functions;
  for (const auto& [name, r] : reductions()) {
    const auto loss = [r = r](int blank, bool zero) {
      return [=](const Inputs& in) {
        return ctc_loss(log(softmax(in[0])), in[1], in[2], in[3],
                        {.blank = blank, .zero_infinity = zero, .reduction = r});
      };
    };
    functions[name] = functions[name + "_repeated"] = loss(0, false);
    functions[name + "_impossible"] = loss(4, true);
  }
  check_family("ctc", functions);
}

}  // namespace
}  // namespace tidemark::test
