#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

using Cases = std::map<std::string, Function>;

TEST(Golden, Reduce) {
  check_family("reduce", {{"sum", [](const Inputs& in) { return sum(in[0]); }},
                          {"sum_dims",
                           [](const Inputs& in) {
                             return sum(in[0], {0, 2});
                           }},
                          {"mean", [](const Inputs& in) { return mean(in[0]); }},
                          {"mean_last", [](const Inputs& in) { return mean(in[0], {-1}); }}});
}

// A function of the first input, x.
#define TIDEMARK_OF_X(...)   \
  [=](const Inputs& in) {    \
    const Tensor& x = in[0]; \
    return __VA_ARGS__;      \
  }

TEST(Golden, Moments) {
  Cases cases;
  cases["sum_keepdim"] = TIDEMARK_OF_X(sum(x, {0, -1}, {.keepdim = true}));
  cases["mean_keepdim"] = TIDEMARK_OF_X(mean(x, {1}, {.keepdim = true}));
  cases["var"] = TIDEMARK_OF_X(var(x));
  cases["std"] = TIDEMARK_OF_X(std(x));
  cases["var_dims"] = TIDEMARK_OF_X(var(x, {0, 2}, {.correction = 0, .keepdim = true}));
  cases["std_dims"] = TIDEMARK_OF_X(std(x, {0, 2}, {.correction = 0, .keepdim = true}));
  cases["var_middle"] = TIDEMARK_OF_X(var(x, {1}, {.correction = 2}));
  cases["std_middle"] = TIDEMARK_OF_X(std(x, {1}, {.correction = 2}));
  for (const std::string kind : {"_large_mean", "_bad", "_single"}) {
    cases["var" + kind] = TIDEMARK_OF_X(var(x, {-1}));
    cases["std" + kind] = TIDEMARK_OF_X(std(x, {-1}));
  }
  check_family("moments", cases);
}

TEST(Golden, Norms) {
  Cases cases;
  const std::pair<const char*, double> kinds[] = {{"two", 2},   {"one", 1},    {"inf", kInf},     {"minus_inf", -kInf},
                                                  {"three", 3}, {"half", 0.5}, {"one_half", 1.5}, {"minus", -1}};
  for (const auto& [kind, p] : kinds) {
    const std::string name = kind;
    cases[name] = TIDEMARK_OF_X(norm(x, {.p = p}));
    cases[name + "_dims"] = TIDEMARK_OF_X(norm(x, {0, 2}, {.p = p, .keepdim = true}));
    if (p != -1) cases[name + "_special"] = TIDEMARK_OF_X(norm(x, {-1}, {.p = p}));
  }
  cases["zero"] = TIDEMARK_OF_X(norm(x, {-1}, {.p = 0}));
  cases["inf_bad"] = TIDEMARK_OF_X(norm(x, {-1}, {.p = kInf}));
  cases["two_bad"] = TIDEMARK_OF_X(norm(x, {-1}));
  check_family("norms", cases);
}

TEST(Golden, Extremes) {
  Cases cases;
  cases["amax"] = TIDEMARK_OF_X(amax(x));
  cases["amin"] = TIDEMARK_OF_X(amin(x));
  cases["amax_dims"] = TIDEMARK_OF_X(amax(x, {0, 2}, {.keepdim = true}));
  cases["amin_dims"] = TIDEMARK_OF_X(amin(x, {0, 2}, {.keepdim = true}));
  for (const std::string kind : {"_first", "_bad_first"}) {
    cases["amax" + kind] = TIDEMARK_OF_X(amax(x, {0}));
    cases["amin" + kind] = TIDEMARK_OF_X(amin(x, {0}));
  }
  cases["amax_bad"] = TIDEMARK_OF_X(amax(x, {-1}));
  cases["amin_bad"] = TIDEMARK_OF_X(amin(x, {-1}));
  for (const std::string kind : {"", "_bad"}) {
    cases["max" + kind] = TIDEMARK_OF_X(max(x, -1).first);
    cases["min" + kind] = TIDEMARK_OF_X(min(x, -1).first);
  }
  cases["max_middle"] = TIDEMARK_OF_X(max(x, 1, {.keepdim = true}).first);
  cases["min_middle"] = TIDEMARK_OF_X(min(x, 1, {.keepdim = true}).first);
  cases["max_bad_first"] = TIDEMARK_OF_X(max(x, 0).first);
  cases["min_bad_first"] = TIDEMARK_OF_X(min(x, 0).first);
  cases["max_bad_indices"] = TIDEMARK_OF_X(max(x, -1).second);
  cases["min_bad_indices"] = TIDEMARK_OF_X(min(x, -1).second);
  cases["argmax"] = TIDEMARK_OF_X(argmax(x));
  cases["argmin"] = TIDEMARK_OF_X(argmin(x));
  cases["argmax_dim"] = TIDEMARK_OF_X(argmax(x, 1, {.keepdim = true}));
  cases["argmin_dim"] = TIDEMARK_OF_X(argmin(x, 1, {.keepdim = true}));
  for (const std::string kind : {"", "_equal", "_bad"}) {
    cases["max_of_all" + kind] = TIDEMARK_OF_X(max(x));
    cases["min_of_all" + kind] = TIDEMARK_OF_X(min(x));
  }
  check_family("extremes", cases);
}

TEST(Golden, Orders) {
  Cases cases;
  for (const bool descending : {false, true}) {
    const std::string order = descending ? "descending" : "ascending";
    cases["sort_" + order] = TIDEMARK_OF_X(sort(x, -1, {.descending = descending}).first);
    cases["sort_middle_" + order] = TIDEMARK_OF_X(sort(x, 1, {.descending = descending}).first);
    cases["sort_bad_" + order] = TIDEMARK_OF_X(sort(x, -1, {.descending = descending}).first);
    cases["argsort_" + order] = TIDEMARK_OF_X(argsort(x, -1, {.descending = descending}));
    cases["topk_" + order] = TIDEMARK_OF_X(topk(x, 3, -1, {.largest = descending}).first);
    cases["topk_first_" + order] = TIDEMARK_OF_X(topk(x, 2, 0, {.largest = descending}).first);
    cases["topk_indices_" + order] = TIDEMARK_OF_X(topk(x, 4, 1, {.largest = descending}).second);
  }
  check_family("orders", cases);
}

TEST(Golden, Exponentials) {
  Cases cases;
  cases["logsumexp"] = TIDEMARK_OF_X(logsumexp(x));
  cases["logsumexp_dims"] = TIDEMARK_OF_X(logsumexp(x, {0, 2}, {.keepdim = true}));
  cases["logsumexp_bad_first"] = TIDEMARK_OF_X(logsumexp(x, {0}));
  for (const std::string kind : {"_bad", "_large"}) {
    cases["logsumexp" + kind] = TIDEMARK_OF_X(logsumexp(x, {-1}));
  }
  for (const std::string kind : {"", "_bad", "_large"}) {
    cases["softmax" + kind] = TIDEMARK_OF_X(softmax(x));
    cases["log_softmax" + kind] = TIDEMARK_OF_X(log_softmax(x));
  }
  cases["softmax_middle"] = TIDEMARK_OF_X(softmax(x, 1));
  cases["log_softmax_middle"] = TIDEMARK_OF_X(log_softmax(x, 1));
  cases["softmax_bad_first"] = TIDEMARK_OF_X(softmax(x, 0));
  cases["log_softmax_bad_first"] = TIDEMARK_OF_X(log_softmax(x, 0));
  check_family("exponentials", cases);
}

TEST(Golden, ProductsAndCounts) {
  Cases cases;
  cases["prod"] = TIDEMARK_OF_X(prod(x));
  cases["prod_middle"] = TIDEMARK_OF_X(prod(x, {1}, {.keepdim = true}));
  cases["prod_zeros"] = TIDEMARK_OF_X(prod(x, {-1}));
  cases["prod_zeros_first"] = TIDEMARK_OF_X(prod(x, {0}));
  cases["cumsum"] = TIDEMARK_OF_X(cumsum(x, -1));
  cases["cumsum_middle"] = TIDEMARK_OF_X(cumsum(x, 1));
  cases["cumsum_bad"] = TIDEMARK_OF_X(cumsum(x, -1));
  cases["cumprod"] = TIDEMARK_OF_X(cumprod(x, -1));
  cases["cumprod_zeros"] = TIDEMARK_OF_X(cumprod(x, -1));
  cases["cumprod_zeros_first"] = TIDEMARK_OF_X(cumprod(x, 0));
  cases["any"] = TIDEMARK_OF_X(any(x, {-1}));
  cases["all"] = TIDEMARK_OF_X(all(x, {-1}, {.keepdim = true}));
  cases["count_nonzero"] = TIDEMARK_OF_X(count_nonzero(x, {0}));
  cases["count_nonzero_floats"] = TIDEMARK_OF_X(count_nonzero(x, {-1}));
  check_family("products_and_counts", cases);
}

#undef TIDEMARK_OF_X

}  // namespace
}  // namespace tidemark::test
