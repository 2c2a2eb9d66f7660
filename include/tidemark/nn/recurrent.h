// Recurrent networks. They are made of steps that are planned one by one, so that a long sequence fits a small budget.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tidemark/nn/module.h"
#include "tidemark/ops/recurrent.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

enum class Nonlinearity { kTanh, kRelu };

// Names, shapes, order of gates and initial values of the parameters are PyTorch's: weight_ih [G, I], weight_hh [G, H],
// bias_ih and bias_hh [G] with G = H for RNN, 4 H for LSTM (i, f, g, o) and 3 H for GRU (r, z, n), all uniform within
// 1 / sqrt(H).
struct RnnCellOptions {
  std::int64_t input = 0;
  std::int64_t hidden = 0;
  bool bias = true;
  Nonlinearity nonlinearity = Nonlinearity::kTanh;
};
struct CellOptions {
  std::int64_t input = 0;
  std::int64_t hidden = 0;
  bool bias = true;
};

// One step: x [N, I] and the state before, [N, H], or undefined for zeros -> the state after.
class RNNCell : public Module {
 public:
  explicit RNNCell(const RnnCellOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, const Tensor& h = {}, SourceLocation where = SourceLocation::current()) const;

  GateWeights weights;

 private:
  Nonlinearity nonlinearity_;
};

class LSTMCell : public Module {
 public:
  explicit LSTMCell(const CellOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  LstmState operator()(const Tensor& x, const LstmState& state = {},
                       SourceLocation where = SourceLocation::current()) const;

  GateWeights weights;
};

class GRUCell : public Module {
 public:
  explicit GRUCell(const CellOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, const Tensor& h = {}, SourceLocation where = SourceLocation::current()) const;

  GateWeights weights;
};

struct RecurrentOptions {
  std::int64_t input = 0;
  std::int64_t hidden = 0;
  int layers = 1;
  bool bias = true;
  bool batch_first = false;  // x and the output are [N, T, ...] instead of [T, N, ...]
  float dropout = 0;         // between the layers, while training
  bool bidirectional = false;
};
struct RnnOptions {
  std::int64_t input = 0;
  std::int64_t hidden = 0;
  int layers = 1;
  bool bias = true;
  bool batch_first = false;
  float dropout = 0;
  bool bidirectional = false;
  Nonlinearity nonlinearity = Nonlinearity::kTanh;
};

// What the layers have in common. With D directions, parameters are named weight_ih_l0, weight_hh_l0, bias_ih_l0,
// bias_hh_l0, weight_ih_l0_reverse and so on.
class Recurrent : public Module {
 public:
  void visit(Visitor& visitor) override;

  std::vector<GateWeights> weights;  // layer by layer, the forward direction before the reverse one

 protected:
  enum class Kind { kRnnTanh, kRnnRelu, kLstm, kGru };
  struct Result {
    Tensor output;
    LstmState state;
  };
  Recurrent(Kind kind, const RecurrentOptions& options, SourceLocation where);
  Result run(const Tensor& x, const LstmState& initial, std::span<const std::int64_t> lengths,
             SourceLocation where) const;

 private:
  class [[gnu::visibility("hidden")]] Pass;
  Kind kind_;
  RecurrentOptions options_;
  bool training_ = true;
};

struct RecurrentResult {
  Tensor output;
  Tensor state;
};
struct LstmResult {
  Tensor output;
  LstmState state;
};

// x [T, N, I] and an initial state [layers * D, N, H], or undefined for zeros -> output [T, N, D * H], the hidden
// states of the last layer, and the state after the last step, [layers * D, N, H].
//
// `lengths` are those of N sequences, each from 0 to T, in any order, where they differ: a sequence then ends with its
// length, and the reverse direction begins there. The output beyond an end is zero, the final state is the one at the
// end, and what x holds beyond it counts for nothing: what PyTorch does with a packed sequence.
//
// Where the loss reads the last step alone, take it from the state: the output is a copy of every step.
class RNN : public Recurrent {
 public:
  explicit RNN(const RnnOptions& options, SourceLocation where = SourceLocation::current());
  RecurrentResult operator()(const Tensor& x, const Tensor& state = {}, std::span<const std::int64_t> lengths = {},
                             SourceLocation where = SourceLocation::current()) const;
};

class LSTM : public Recurrent {
 public:
  explicit LSTM(const RecurrentOptions& options, SourceLocation where = SourceLocation::current());
  LstmResult operator()(const Tensor& x, const LstmState& state = {}, std::span<const std::int64_t> lengths = {},
                        SourceLocation where = SourceLocation::current()) const;
};

class GRU : public Recurrent {
 public:
  explicit GRU(const RecurrentOptions& options, SourceLocation where = SourceLocation::current());
  RecurrentResult operator()(const Tensor& x, const Tensor& state = {}, std::span<const std::int64_t> lengths = {},
                             SourceLocation where = SourceLocation::current()) const;
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
