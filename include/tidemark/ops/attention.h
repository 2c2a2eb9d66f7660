// Attention.
#pragma once

#include <cstdint>
#include <optional>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

// qkv [N, T, 3 * D]: queries, keys and values side by side, each of `heads` heads -> [N, T, D]. Causal, scaled by
// 1 / sqrt(D / heads). Scores are held in tiles.
Tensor causal_self_attention(const Tensor& qkv, int heads, SourceLocation where = SourceLocation::current());

struct AttentionOptions {
  // Of queries, where they lie side by side: in q [N, T, heads * E].
  int heads = 1;
  // Query i sees keys j <= i alone. Counted from the first ones where T and S differ, as PyTorch does.
  bool causal = false;
  std::optional<float> scale = {};  // of the scores; 1 / sqrt(E) where nothing is said
  // In training probabilities are zeroed with dropout_p, in [0, 1], and the others scaled by 1 / (1 - dropout_p).
  float dropout_p = 0;
  bool training = true;
  // u8 [N, S]. A key that is not zero here is hidden from every query, as in PyTorch's MultiheadAttention; whatever the
  // key and its value hold is not looked at.
  Tensor key_padding_mask = {};
  // f32, added to the scores: any shape that broadcasts to [N, H, T, S]. It gets no gradient, and is refused where it
  // requires one: detach() it.
  Tensor attn_mask = {};
};
// softmax(scale q k') v, by heads: q [N, H, T, E], k [N, G, S, E] and v [N, G, S, Ev] -> [N, H, T, Ev]. H is a multiple
// of G, and head h of the queries looks at head h / (H / G) of the keys. Or with the heads side by side, which spares
// the transpositions round it: q [N, T, heads * E], k [N, S, G * E] and v [N, S, G * Ev] -> [N, T, heads * Ev].
//
// Masks combine: a query sees a key that none of them takes away. A query that sees no key, by masks or scores of -inf,
// gives zeros and has no gradient, as in PyTorch from 2.5 on (before, NaNs). E and Ev are not empty.
//
// Scores are made in tiles, in backward again; what is saved grows with T and not with T * S. Memory beyond inputs,
// outputs and gradients: three floats a query and, a thread, room for a few tiles (270 KiB for E = Ev = 64), to which
// backward may add sums over the keys of one head, of at most 4 * (E + Ev + 94) bytes a key. Tiles of keys that are
// later than all of their queries, or all hidden, cost nothing.
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const AttentionOptions& options = {},
                                    SourceLocation where = SourceLocation::current());

struct RotaryOptions {
  float base = 10000;       // above 0
  std::int64_t offset = 0;  // the position of the first row
  // i32 [T], or [N, T] for x [N, ..., T, E]: in place of offset, offset + 1 and so on.
  Tensor positions = {};
  // Pairs are (2 i, 2 i + 1) where true, as in the paper and GPT-J; else (i, i + E / 2), as in GPT-NeoX and LLaMA.
  bool interleaved = false;
  // Side by side in x [..., T, heads * E]; each is turned by itself.
  int heads = 1;
};
// Rotary positions (Su and others, RoFormer): pair i of row t of x [..., T, E] is turned by position(t) * base^(-2 i /
// E). E is even. Angles are computed in double precision. Backward turns the other way, and nothing is saved.
Tensor rotary_embedding(const Tensor& x, const RotaryOptions& options = {},
                        SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
