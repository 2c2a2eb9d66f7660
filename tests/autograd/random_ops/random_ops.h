// What random programs are made of: the ops of each family, drawn on values that are matrices [kRows, columns] or
// images [kRows, C, H, W].
//
// An op takes a value and gives one of either kind, of moderate size: a program goes through some twenty of them, so
// that what grows (exp, powers) is applied to something bounded, and what divides to something away from zero.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tidemark/tensor.h"

namespace tidemark::test {

inline constexpr std::int64_t kRows = 8;

struct Histogram {
  std::map<std::string, std::int64_t> ops;
  std::int64_t views = 0;
  std::int64_t shared_inputs = 0;
  std::map<int, std::int64_t> recompute_depth;  // of replays in one step, by powers of two
};

// What an op may ask the program for.
class Draw {
 public:
  Draw(std::uint64_t seed, Histogram* histogram) : seed_(seed), histogram_(histogram) {}

  // Of [0, below).
  int pick(int below) { return static_cast<int>(random_() % static_cast<std::uint64_t>(below)); }
  // Some earlier value.
  const Tensor& any() { return pool_[static_cast<std::size_t>(pick(static_cast<int>(pool_.size())))]; }
  // One of the shape of x, which is x itself where there is no other.
  Tensor like(const Tensor& x);
  // The program's next parameter: made where it is met first, the same in every step.
  Tensor weight(const Shape& shape, float scale);
  // A running statistic, likewise.
  Tensor statistic(const Shape& shape);
  Tensor matrix_of(const Tensor& x);
  Tensor image_of(const Tensor& x);
  // A matrix of at most 192 columns.
  Tensor narrow(const Tensor& x);

 protected:
  Tensor count(const char* name, Tensor value) {
    if (histogram_ != nullptr) ++histogram_->ops[name];
    return value;
  }

  std::uint64_t seed_;
  Histogram* histogram_;
  std::mt19937_64 random_;
  std::vector<Tensor> pool_;
  std::vector<Tensor> parameters_;
  std::vector<Tensor> statistics_;
  std::size_t used_ = 0;
  std::size_t next_statistic_ = 0;
};

struct RandomOp {
  const char* name;
  Tensor (*apply)(Draw& draw, const Tensor& x);
};

// A family each, in a file of its own; random_program.cc lists them.
std::vector<RandomOp> core_random_ops();
std::vector<RandomOp> attention_random_ops();
std::vector<RandomOp> embedding_random_ops();
std::vector<RandomOp> losses_random_ops();
std::vector<RandomOp> pointwise_random_ops();
std::vector<RandomOp> products_random_ops();
std::vector<RandomOp> recurrent_random_ops();
std::vector<RandomOp> reductions_random_ops();
std::vector<RandomOp> shapes_random_ops();

}  // namespace tidemark::test
