// Steps of recurrent networks, of which nn/recurrent.h makes layers. A batch of N sequences goes through them together,
// with I features in and H hidden ones.
#pragma once

#include <cstdint>
#include <vector>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

// What a step's gates are made of: the products of the step's input x [N, I] and of the hidden state h [N, H].
struct GateWeights {
  Tensor weight_ih;  // [G, I]
  Tensor weight_hh;  // [G, H]
  Tensor bias_ih;    // [G], or undefined; then so is the other
  Tensor bias_hh;    // [G]
};

// x weight_ih^T + bias_ih + h weight_hh^T + bias_hh -> [N, G].
Tensor gate_products(const Tensor& x, const Tensor& h, const GateWeights& weights,
                     SourceLocation where = SourceLocation::current());
// The same for a GRU, whose G = 3 H gates are r, z and n: the two products of n stay apart -> [N, 4 H], with the sums
// for r and z, and for n what comes from x and then what comes from h.
Tensor gru_products(const Tensor& x, const Tensor& h, const GateWeights& weights,
                    SourceLocation where = SourceLocation::current());

struct LstmState {
  Tensor h;  // hidden
  Tensor c;  // cell
};
// A step of an LSTM from its products [N, 4 H], gates in the order i, f, g, o, and the cell state c [N, H]:
// c' = sigmoid(f) c + sigmoid(i) tanh(g) and h' = sigmoid(o) tanh(c'), [N, H] each.
LstmState lstm_gates(const Tensor& products, const Tensor& c, SourceLocation where = SourceLocation::current());

// A step of a GRU from its products [N, 4 H] and the hidden state h [N, H]: h' = (1 - sigmoid(z)) n + sigmoid(z) h with
// n = tanh(n_x + sigmoid(r) n_h) -> [N, H].
Tensor gru_gates(const Tensor& products, const Tensor& h, SourceLocation where = SourceLocation::current());

// Sequences of different lengths: x is one step [N, F] or several of them [T, N, F], the first of which is step `first`
// of its sequence, and lengths (i32) [N]. Where a sequence has ended the result is that of `otherwise`, of the shape of
// x, or zero where that is undefined; what x holds there reaches no result and gets no gradient, a NaN included.
Tensor until_length(const Tensor& x, const Tensor& lengths, std::int64_t first, const Tensor& otherwise = {},
                    SourceLocation where = SourceLocation::current());

// x cut into pieces of `size` (at least 1) along a dimension; the last may be shorter. Each is a copy. The gradient is
// put together at once, where as many slices would each make one of the size of x.
std::vector<Tensor> time_steps(const Tensor& x, int dim, std::int64_t size,
                               SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
