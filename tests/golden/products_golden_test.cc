#include <string>

#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Linear) {
  check_family("linear", {{"batch", [](const Inputs& in) { return linear(in[0], in[1], in[2]); }},
                          {"sequence", [](const Inputs& in) { return linear(in[0], in[1]); }}});
}

TEST(Golden, Matmul) {
  const Function function = [](const Inputs& in) { return matmul(in[0], in[1]); };
  check_family("matmul", {{"matrix", function}, {"batch", function}, {"shared", function}});
}

TEST(Golden, Product) {
  const Function function = [](const Inputs& in) { return matmul(in[0], in[1]); };
  const MatmulOptions both{.transpose_a = true, .transpose_b = true};
  check_family("product", {{"broadcast", function},
                           {"transposed", [&](const Inputs& in) { return matmul(in[0], in[1], both); }},
                           {"column", function},
                           {"row", function},
                           {"vectors", function},
                           {"outer", [](const Inputs& in) { return outer(in[0], in[1]); }},
                           {"bilinear", [](const Inputs& in) { return bilinear(in[0], in[1], in[2], in[3]); }},
                           {"bmm", [](const Inputs& in) { return bmm(in[0], in[1]); }}});
}

TEST(Golden, Einsum) {
  const auto of = [](const std::string& equation) -> Function {
    return [equation](const Inputs& in) { return einsum(equation, in); };
  };
  check_family("einsum", {{"attention", of("bhtd,bhsd->bhts")},
                          {"permute", of("abc->cab")},
                          {"sum", of("abc->b")},
                          {"all", of("ab->")},
                          {"trace", of("ii")},
                          {"diagonal", of("iji->ji")},
                          {"implicit", of("ba,ac")},
                          {"ellipsis", of("...ij, ...jk -> ...ik")},
                          {"ellipsis_implicit", of("i...,i...")},
                          {"elementwise", of("ij,ij->ij")},
                          {"rows", of("bi,bi->b")},
                          {"dot", of("i,i->")},
                          {"outer", of("i,j->ji")},
                          {"ones", of("ij,jk->ik")},
                          {"three", of("ij,jk,kl->li")},
                          {"bilinear", of("bi,oij,bj->bo")},
                          {"summed_first", of("ijk,l->il")}});
}

}  // namespace
}  // namespace tidemark::test
