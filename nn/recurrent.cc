#include "tidemark/nn/recurrent.h"

#include <algorithm>
#include <string>
#include <utility>

#include "nn/checks.h"
#include "tidemark/ops/norms.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/shapes.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

GateWeights gate_weights(std::int64_t gates, std::int64_t input, std::int64_t hidden, bool bias, SourceLocation where) {
  const auto width = static_cast<double>(hidden);
  const std::int64_t rows = gates * hidden;
  GateWeights out;
  out.weight_ih = uniform_parameter({rows, input}, width, "recurrent.weight_ih", where);
  out.weight_hh = uniform_parameter({rows, hidden}, width, "recurrent.weight_hh", where);
  if (bias) {
    out.bias_ih = uniform_parameter({rows}, width, "recurrent.bias_ih", where);
    out.bias_hh = uniform_parameter({rows}, width, "recurrent.bias_hh", where);
  }
  return out;
}

template <class Options>
void check_sizes(const char* layer, const Options& options, SourceLocation where) {
  require_positive(options.input, layer, ".input", where);
  require_positive(options.hidden, layer, ".hidden", where);
}

void visit_weights(Visitor& visitor, GateWeights& weights, const std::string& suffix) {
  visitor.parameter("weight_ih" + suffix, weights.weight_ih);
  visitor.parameter("weight_hh" + suffix, weights.weight_hh);
  visitor.parameter("bias_ih" + suffix, weights.bias_ih);
  visitor.parameter("bias_hh" + suffix, weights.bias_hh);
}

Tensor rnn_step(const Tensor& x, const Tensor& h, const GateWeights& weights, bool rectified, SourceLocation where) {
  const Tensor products = gate_products(x, h, weights, where);
  return rectified ? relu(products, where) : tanh(products, where);
}

LstmState lstm_step(const Tensor& x, const LstmState& state, const GateWeights& weights, SourceLocation where) {
  return lstm_gates(gate_products(x, state.h, weights, where), state.c, where);
}

Tensor gru_step(const Tensor& x, const Tensor& h, const GateWeights& weights, SourceLocation where) {
  return gru_gates(gru_products(x, h, weights, where), h, where);
}

// A cell's state before the step.
Tensor state_or_zeros(const char* cell, const Tensor& x, const Tensor& state, const GateWeights& weights,
                      SourceLocation where) {
  const Shape& shape = x.shape(where);
  require(shape.rank() == 2, cell, "x must be [N, I], but is " + shape.to_string(), where);
  return state.defined() ? state : zeros({shape[0], weights.weight_hh.size(1, where)}, f32, where);
}

}  // namespace

RNNCell::RNNCell(const RnnCellOptions& options, SourceLocation where) : nonlinearity_(options.nonlinearity) {
  check_sizes("RNNCell", options, where);
  weights = gate_weights(1, options.input, options.hidden, options.bias, where);
}

void RNNCell::visit(Visitor& visitor) { visit_weights(visitor, weights, ""); }

Tensor RNNCell::operator()(const Tensor& x, const Tensor& h, SourceLocation where) const {
  const Tensor before = state_or_zeros("RNNCell", x, h, weights, where);
  return rnn_step(x, before, weights, nonlinearity_ == Nonlinearity::kRelu, where);
}

LSTMCell::LSTMCell(const CellOptions& options, SourceLocation where) {
  check_sizes("LSTMCell", options, where);
  weights = gate_weights(4, options.input, options.hidden, options.bias, where);
}

void LSTMCell::visit(Visitor& visitor) { visit_weights(visitor, weights, ""); }

LstmState LSTMCell::operator()(const Tensor& x, const LstmState& state, SourceLocation where) const {
  const Tensor h = state_or_zeros("LSTMCell", x, state.h, weights, where);
  const Tensor c = state_or_zeros("LSTMCell", x, state.c, weights, where);
  return lstm_step(x, {h, c}, weights, where);
}

GRUCell::GRUCell(const CellOptions& options, SourceLocation where) {
  check_sizes("GRUCell", options, where);
  weights = gate_weights(3, options.input, options.hidden, options.bias, where);
}

void GRUCell::visit(Visitor& visitor) { visit_weights(visitor, weights, ""); }

Tensor GRUCell::operator()(const Tensor& x, const Tensor& h, SourceLocation where) const {
  return gru_step(x, state_or_zeros("GRUCell", x, h, weights, where), weights, where);
}

namespace {

constexpr const char* kNames[] = {"RNN", "RNN", "LSTM", "GRU"};
constexpr std::int64_t kGates[] = {1, 1, 4, 3};

// A long sequence is cut twice, so that no cut is of all its steps.
constexpr std::int64_t kPiece = 16;

}  // namespace

Recurrent::Recurrent(Kind kind, const RecurrentOptions& options, SourceLocation where)
    : kind_(kind), options_(options) {
  const char* name = kNames[static_cast<int>(kind)];
  check_sizes(name, options, where);
  require_positive(options.layers, name, ".layers", where);
  require(options.dropout >= 0 && options.dropout <= 1, name,
          ".dropout must be in [0, 1], but is " + std::to_string(options.dropout), where);
  const int directions = options.bidirectional ? 2 : 1;
  for (int i = 0; i < options.layers * directions; ++i) {
    const std::int64_t input = i < directions ? options.input : directions * options.hidden;
    weights.push_back(gate_weights(kGates[static_cast<int>(kind)], input, options.hidden, options.bias, where));
  }
}

void Recurrent::visit(Visitor& visitor) {
  const std::size_t directions = options_.bidirectional ? 2 : 1;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    visit_weights(visitor, weights[i], "_l" + std::to_string(i / directions) + (i % directions == 1 ? "_reverse" : ""));
  }
  visitor.training(training_);
}

// One call of a layer.
class Recurrent::Pass {
 public:
  Pass(const Recurrent& net, const Tensor& x, const LstmState& initial, std::span<const std::int64_t> lengths,
       SourceLocation where)
      : net_(net), name_(kNames[static_cast<int>(net.kind_)]), initial_(initial), where_(where) {
    const Shape& shape = x.shape(where);
    const RecurrentOptions& options = net.options_;
    require(shape.rank() == 3 && shape[2] == options.input, name_,
            std::string("x must be ") + (options.batch_first ? "[N, T, " : "[T, N, ") + std::to_string(options.input) +
                "], but is " + shape.to_string(),
            where);
    time_ = options.batch_first ? 1 : 0;
    steps_ = shape[time_];
    batch_ = shape[1 - time_];
    check_state("h", initial.h);
    if (net.kind_ == Kind::kLstm) {
      check_state("c", initial.c);
      require(initial.h.defined() == initial.c.defined(), name_, "the initial state has one of h and c alone", where);
    }
    take(lengths);
  }

  Result operator()(const Tensor& x) {
    const RecurrentOptions& options = net_.options_;
    std::vector<Tensor> values = steps_of(x);
    if (lengths_.defined()) {
      for (std::size_t t = 0; t < values.size(); ++t) values[t] = up_to_end(values[t], t, {});
    }
    const std::size_t directions = options.bidirectional ? 2 : 1;
    for (std::size_t at = 0; at < net_.weights.size(); at += directions) {
      if (at > 0 && net_.training_ && options.dropout > 0) {
        for (Tensor& value : values) value = dropout(value, {.p = options.dropout, .training = true}, where_);
      }
      std::vector<Tensor> out = go(at, values, false);
      if (options.bidirectional) {
        const std::vector<Tensor> reverse = go(at + 1, values, true);
        for (std::size_t t = 0; t < out.size(); ++t) out[t] = concat({out[t], reverse[t]}, 1, where_);
      }
      values = std::move(out);
    }
    if (lengths_.defined()) {
      for (std::size_t t = 0; t < values.size(); ++t) values[t] = up_to_end(values[t], t, {});
    }
    const Shape states{static_cast<std::int64_t>(net_.weights.size()), batch_, options.hidden};
    Result result;
    result.output = together(values, static_cast<std::int64_t>(directions) * options.hidden);
    result.state.h = reshape(concat(final_h_, 0, where_), states, where_);
    if (net_.kind_ == Kind::kLstm) result.state.c = reshape(concat(final_c_, 0, where_), states, where_);
    return result;
  }

 private:
  void check_state(const char* name, const Tensor& state) const {
    if (!state.defined()) return;
    const Shape wanted{static_cast<std::int64_t>(net_.weights.size()), batch_, net_.options_.hidden};
    require(state.shape(where_) == wanted, name_,
            std::string("the initial ") + name + " must be " + wanted.to_string() + ", but is " +
                state.shape(where_).to_string(),
            where_);
  }

  void take(std::span<const std::int64_t> lengths) {
    if (lengths.empty()) return;
    require(static_cast<std::int64_t>(lengths.size()) == batch_, name_,
            std::to_string(lengths.size()) + " lengths for " + std::to_string(batch_) + " sequences", where_);
    std::vector<std::int32_t> checked;
    for (const std::int64_t length : lengths) {
      require(length >= 0 && length <= steps_, name_,
              "a length is " + std::to_string(length) + ", but must be from 0 to the " + std::to_string(steps_) +
                  " steps of x",
              where_);
      checked.push_back(static_cast<std::int32_t>(length));
    }
    lengths_ = tensor(std::span<const std::int32_t>(checked), {batch_}, where_);
  }

  Tensor up_to_end(const Tensor& x, std::size_t step, const Tensor& otherwise) const {
    return until_length(x, lengths_, static_cast<std::int64_t>(step), otherwise, where_);
  }

  // [N, I] each.
  std::vector<Tensor> steps_of(const Tensor& x) const {
    std::vector<Tensor> out;
    const Shape step{batch_, net_.options_.input};
    if (!x.requires_grad(where_)) {
      // Views, or copies of one step that are easily made again.
      for (std::int64_t t = 0; t < steps_; ++t) out.push_back(slice(x, time_, t, t + 1, where_));
    } else if (steps_ > 0) {
      for (const Tensor& piece : time_steps(x, time_, kPiece, where_)) {
        for (Tensor& each : time_steps(piece, time_, 1, where_)) out.push_back(std::move(each));
      }
    }
    for (Tensor& each : out) each = reshape(each, step, where_);
    return out;
  }

  Tensor together(const std::vector<Tensor>& values, std::int64_t width) const {
    const Shape shape = time_ == 0 ? Shape{steps_, batch_, width} : Shape{batch_, steps_, width};
    if (values.empty()) return zeros(shape, f32, where_);
    return reshape(concat(values, time_, where_), shape, where_);
  }

  Tensor initial(const Tensor& states, std::size_t at) {
    const Shape shape{batch_, net_.options_.hidden};
    if (states.defined()) {
      const auto index = static_cast<std::int64_t>(at);
      return reshape(slice(states, 0, index, index + 1, where_), shape, where_);
    }
    if (!zeros_.defined()) zeros_ = zeros(shape, f32, where_);
    return zeros_;
  }

  LstmState step(const Tensor& x, const LstmState& before, const GateWeights& weights) const {
    switch (net_.kind_) {
      case Kind::kLstm:
        return lstm_step(x, before, weights, where_);
      case Kind::kGru:
        return {gru_step(x, before.h, weights, where_), {}};
      default:
        return {rnn_step(x, before.h, weights, net_.kind_ == Kind::kRnnRelu, where_), {}};
    }
  }

  // A layer in one direction: the hidden state of each step. Where a sequence has ended, or in reverse has not begun,
  // the state goes on as it is.
  std::vector<Tensor> go(std::size_t at, const std::vector<Tensor>& values, bool reverse) {
    const bool has_cell = net_.kind_ == Kind::kLstm;
    LstmState state{initial(initial_.h, at), has_cell ? initial(initial_.c, at) : Tensor()};
    std::vector<Tensor> out(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t t = reverse ? values.size() - 1 - i : i;
      LstmState next = step(values[t], state, net_.weights[at]);
      if (lengths_.defined()) {
        next.h = up_to_end(next.h, t, state.h);
        if (has_cell) next.c = up_to_end(next.c, t, state.c);
      }
      state = std::move(next);
      out[t] = state.h;
    }
    final_h_.push_back(state.h);
    final_c_.push_back(state.c);
    return out;
  }

  const Recurrent& net_;
  const char* name_;
  const LstmState& initial_;
  SourceLocation where_;
  int time_ = 0;  // the dimension of x
  std::int64_t steps_ = 0;
  std::int64_t batch_ = 0;
  Tensor lengths_;  // [N], or undefined where all sequences have all steps
  Tensor zeros_;
  std::vector<Tensor> final_h_, final_c_;
};

Recurrent::Result Recurrent::run(const Tensor& x, const LstmState& initial, std::span<const std::int64_t> lengths,
                                 SourceLocation where) const {
  return Pass(*this, x, initial, lengths, where)(x);
}

RNN::RNN(const RnnOptions& options, SourceLocation where)
    : Recurrent(options.nonlinearity == Nonlinearity::kRelu ? Kind::kRnnRelu : Kind::kRnnTanh,
                {.input = options.input,
                 .hidden = options.hidden,
                 .layers = options.layers,
                 .bias = options.bias,
                 .batch_first = options.batch_first,
                 .dropout = options.dropout,
                 .bidirectional = options.bidirectional},
                where) {}

RecurrentResult RNN::operator()(const Tensor& x, const Tensor& state, std::span<const std::int64_t> lengths,
                                SourceLocation where) const {
  Result result = run(x, {state, {}}, lengths, where);
  return {std::move(result.output), std::move(result.state.h)};
}

LSTM::LSTM(const RecurrentOptions& options, SourceLocation where) : Recurrent(Kind::kLstm, options, where) {}

LstmResult LSTM::operator()(const Tensor& x, const LstmState& state, std::span<const std::int64_t> lengths,
                            SourceLocation where) const {
  Result result = run(x, state, lengths, where);
  return {std::move(result.output), std::move(result.state)};
}

GRU::GRU(const RecurrentOptions& options, SourceLocation where) : Recurrent(Kind::kGru, options, where) {}

RecurrentResult GRU::operator()(const Tensor& x, const Tensor& state, std::span<const std::int64_t> lengths,
                                SourceLocation where) const {
  Result result = run(x, {state, {}}, lengths, where);
  return {std::move(result.output), std::move(result.state.h)};
}

}  // namespace tidemark::nn
