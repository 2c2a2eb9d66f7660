#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

constexpr std::int64_t kInput = 4;
constexpr std::int64_t kHidden = 3;

// As the files have them: output, h and c one after the other.
Tensor flat(const Tensor& output, const Tensor& state) {
  return concat({reshape(output, {-1}), reshape(state, {-1})}, 0);
}
Tensor flat(const nn::LstmResult& result) { return flat(flat(result.output, result.state.h), result.state.c); }
Tensor flat(const nn::RecurrentResult& result) { return flat(result.output, result.state); }

// Input `at` and those after it.
GateWeights weights_at(const Inputs& in, std::size_t& at, bool bias) {
  GateWeights out{in[at], in[at + 1], {}, {}};
  at += 2;
  if (!bias) return out;
  out.bias_ih = in[at++];
  out.bias_hh = in[at++];
  return out;
}

struct Case {
  int layers = 1;
  bool bidirectional = false;
  bool bias = true;
  bool batch_first = false;
  bool state = false;
  bool lengths = false;
};

template <class Net, class Options>
Function network(const Options& options, const Case& c) {
  return [options, c](const Inputs& in) {
    Net net(options);
    constexpr bool kIsLstm = std::is_same_v<Net, nn::LSTM>;
    std::size_t at = 1;
    LstmState state;
    if (c.state) state.h = in[at++];
    if (c.state && kIsLstm) state.c = in[at++];
    for (GateWeights& each : net.weights) each = weights_at(in, at, c.bias);
    std::vector<std::int64_t> lengths;
    if (c.lengths) lengths = in.at(at).to_vector<std::int64_t>();
    if constexpr (kIsLstm) {
      return flat(net(in[0], state, lengths));
    } else {
      return flat(net(in[0], state.h, lengths));
    }
  };
}

template <class Net>
Function network(const Case& c) {
  return network<Net>(nn::RecurrentOptions{.input = kInput,
                                           .hidden = kHidden,
                                           .layers = c.layers,
                                           .bias = c.bias,
                                           .batch_first = c.batch_first,
                                           .bidirectional = c.bidirectional},
                      c);
}

Function rnn(nn::Nonlinearity nonlinearity, const Case& c) {
  return network<nn::RNN>(nn::RnnOptions{.input = kInput,
                                         .hidden = kHidden,
                                         .layers = c.layers,
                                         .bidirectional = c.bidirectional,
                                         .nonlinearity = nonlinearity},
                          c);
}

template <class Cell, class Options>
Function cell(const Options& options) {
  return [options](const Inputs& in) {
    Cell net(options);
    std::size_t at = 2;
    net.weights = weights_at(in, at, true);
    return reshape(net(in[0], in[1]), {-1});
  };
}

Tensor lstm_cell(const Inputs& in) {
  nn::LSTMCell net({.input = kInput, .hidden = kHidden});
  std::size_t at = 3;
  net.weights = weights_at(in, at, true);
  const LstmState after = net(in[0], {in[1], in[2]});
  return flat(after.h, after.c);
}

TEST(Golden, Recurrent) {
  const Case two{.layers = 2, .bidirectional = true, .state = true};
  const Case packed{.layers = 2, .bidirectional = true, .state = true, .lengths = true};
  const Case no_bias{.layers = 2, .bias = false, .batch_first = true};
  const Case packed_batch_first{.batch_first = true, .lengths = true};
  const Case state{.state = true};
  const auto tanh = nn::Nonlinearity::kTanh;
  const auto relu = nn::Nonlinearity::kRelu;
  check_family("recurrent",
               {{"lstm", network<nn::LSTM>({})},
                {"lstm_two_both", network<nn::LSTM>(two)},
                {"lstm_packed", network<nn::LSTM>(packed)},
                {"lstm_no_bias_batch_first", network<nn::LSTM>(no_bias)},
                {"lstm_packed_batch_first", network<nn::LSTM>(packed_batch_first)},
                {"lstm_one_step", network<nn::LSTM>(state)},
                {"lstm_cell", lstm_cell},
                {"gru", network<nn::GRU>({})},
                {"gru_two_both", network<nn::GRU>(two)},
                {"gru_packed", network<nn::GRU>(packed)},
                {"gru_no_bias_batch_first", network<nn::GRU>(no_bias)},
                {"gru_packed_batch_first", network<nn::GRU>(packed_batch_first)},
                {"gru_one_step", network<nn::GRU>(state)},
                {"gru_cell", cell<nn::GRUCell>(nn::CellOptions{.input = kInput, .hidden = kHidden})},
                {"rnn_tanh", rnn(tanh, {})},
                {"rnn_tanh_two_both", rnn(tanh, two)},
                {"rnn_tanh_packed", rnn(tanh, packed)},
                {"rnn_tanh_cell", cell<nn::RNNCell>(nn::RnnCellOptions{.input = kInput, .hidden = kHidden})},
                {"rnn_relu", rnn(relu, {})},
                {"rnn_relu_two_both", rnn(relu, two)},
                {"rnn_relu_packed", rnn(relu, packed)},
                {"rnn_relu_cell",
                 cell<nn::RNNCell>(nn::RnnCellOptions{.input = kInput, .hidden = kHidden, .nonlinearity = relu})}});
}

}  // namespace
}  // namespace tidemark::test
