// Attention in tiles, which the ops of this folder share. Tiles of kAttentionTile keys by as many queries are made one
// after the other, and no larger piece of the scores is ever held: a softmax over several tiles goes on with the
// largest score and the sum so far, and scales what it has when a larger score comes.
//
// What is computed, and in which order, follows from the shapes alone, so that bits are equal on every team.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/round_up.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// Keys and queries of a tile: a multiple of the rows (6) and columns (at most 32) that the products' kernel makes.
inline constexpr std::int64_t kAttentionTile = 96;

struct AttentionShape {
  std::int64_t batch = 0;
  std::int64_t heads = 0;      // of queries
  std::int64_t key_heads = 0;  // divides `heads`
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t size = 0;  // of a query and a key
  std::int64_t value_size = 0;
  float scale = 1;
  float dropout = 0;
  bool causal = false;
  bool biased = false;  // by AttentionInputs::bias

  std::int64_t rows() const { return batch * heads * queries; }
  std::int64_t group() const { return heads / key_heads; }
  // Query-key pairs that are not left out for being later.
  double pairs() const {
    const auto q = static_cast<double>(queries);
    const auto k = static_cast<double>(keys);
    const double square = std::min(q, k);
    const double each = causal ? square * square / 2 + std::max(0.0, q - k) * k : q * k;
    return static_cast<double>(batch * heads) * each;
  }
};

// Floats of scratch, in the order in which they lie. Rows are padded to whole panels and one cache line more, so that
// rows one below the other do not compete for the same lines of a cache.
struct TileSizes {
  explicit TileSizes(const AttentionShape& shape)
      : row(core::round_up(shape.size, 32) + 16),
        value_row(core::round_up(shape.value_size, 32) + 16),
        columns(shape.size * kAttentionTile),
        value_columns(shape.value_size * kAttentionTile),
        rows(kAttentionTile * row),
        value_rows(kAttentionTile * value_row),
        scores(kAttentionTile * kAttentionTile),
        bias(shape.biased ? scores : 0) {}
  std::int64_t forward() const { return columns + rows + 2 * value_rows + scores + bias; }
  std::int64_t backward() const { return columns + value_columns + 3 * rows + 2 * value_rows + 2 * scores + bias; }
  // Sums of the gradients of `keys` keys and values.
  std::int64_t sums(std::int64_t keys) const { return core::round_up(keys, kAttentionTile) * (row + value_row); }

  std::int64_t row;
  std::int64_t value_row;
  std::int64_t columns;
  std::int64_t value_columns;
  std::int64_t rows;
  std::int64_t value_rows;
  std::int64_t scores;
  std::int64_t bias;
};

// Rows of floats, by sequence, head and position.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t batch_step = 0;
  std::int64_t head_step = 0;
  std::int64_t row_step = 0;

  T* at(std::int64_t sequence, std::int64_t head, std::int64_t row) const {
    return data + sequence * batch_step + head * head_step + row * row_step;
  }
};

struct AttentionInputs {
  Heads<const float> q;
  Heads<const float> k;
  Heads<const float> v;                  // null where the gradient of v alone is made
  const std::uint8_t* hidden = nullptr;  // [batch, keys], or null: keys that no query sees
  Heads<const float> bias = {};          // added to the scores, where AttentionShape::biased
  std::int64_t bias_column_step = 0;
  RngKey rng = {};  // of dropout
};

// Of backward; `data` is null where a gradient is not wanted.
struct AttentionGradients {
  Heads<float> q;
  Heads<float> k;
  Heads<float> v;
};

// Which gradients are made.
struct AttentionWants {
  bool q = false;
  bool k = false;
  bool v = false;
};

// Whether a thread makes all gradients of a head of keys from one look at each tile. The alternative looks twice, for
// the gradients of keys and of queries, and has work for more threads. Both give the same bits.
bool attention_looks_once(const AttentionShape& shape, const AttentionWants& wants, int threads);

// Bytes of scratch.
std::int64_t attention_forward_scratch(const AttentionShape& shape, int threads);
std::int64_t attention_backward_scratch(const AttentionShape& shape, const AttentionWants& wants, int threads);

// Writes the output and, as `statistics` [2, batch, heads, queries], each row's largest score and the inverse of the
// sum of e^(score - largest). A row that sees no key gives zeros, and its statistics are zeros.
void attention_forward(const Ctx& ctx, const AttentionShape& shape, const AttentionInputs& in, const Heads<float>& out,
                       float* statistics);

// `out` is read where gradients of queries or keys are wanted. Where attention_looks_once(), gradients may lie over
// what they are gradients of.
void attention_backward(const Ctx& ctx, const AttentionShape& shape, const AttentionInputs& in,
                        const Heads<const float>& out, const float* statistics, const Heads<const float>& gy,
                        const AttentionGradients& gx);

}  // namespace tidemark::ops
