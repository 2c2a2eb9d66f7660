// Steps of recurrent networks over the columns of a matrix, cut into three.
#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

constexpr std::int64_t kHidden = 24;

GateWeights gates(Draw& draw, std::int64_t count, std::int64_t input) {
  return {draw.weight({count * kHidden, input}, 0.1f), draw.weight({count * kHidden, kHidden}, 0.1f),
          draw.weight({count * kHidden}, 0.1f), draw.weight({count * kHidden}, 0.1f)};
}

// At least as many columns as pieces.
std::vector<Tensor> pieces(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const std::int64_t size = y.size(1) / 3;
  if (size == 0) return {y};
  return time_steps(slice(y, 1, 0, 3 * size), 1, size);
}

Tensor lstm_of(Draw& draw, const Tensor& x) {
  const std::vector<Tensor> steps = pieces(draw, x);
  const GateWeights weights = gates(draw, 4, steps[0].size(1));
  const Tensor start = draw.weight({kRows, kHidden}, 0.5f);
  LstmState state{start, start};
  for (const Tensor& step : steps) state = lstm_gates(gate_products(step, state.h, weights), state.c);
  return concat({state.h, state.c}, 1);
}

Tensor gru_of(Draw& draw, const Tensor& x) {
  const std::vector<Tensor> steps = pieces(draw, x);
  const GateWeights weights = gates(draw, 3, steps[0].size(1));
  Tensor h = zeros({kRows, kHidden});
  for (const Tensor& step : steps) h = gru_gates(gru_products(step, h, weights), h);
  return h;
}

Tensor until_length_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const Tensor lengths = tensor({4, 0, 1, 2, 3, 1, 9, 2}, {kRows});
  return until_length(y, lengths, draw.pick(4), draw.pick(2) == 0 ? Tensor() : affine(y, -0.5f, 0.1f));
}

}  // namespace

std::vector<RandomOp> recurrent_random_ops() {
  return {{"lstm", lstm_of}, {"gru", gru_of}, {"until_length", until_length_of}};
}

}  // namespace tidemark::test
