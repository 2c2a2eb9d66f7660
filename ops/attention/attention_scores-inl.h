// The scores of a tile and what takes keys away from queries, compiled once per instruction set; see simd-inl.h.
#if defined(TIDEMARK_OPS_ATTENTION_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_ATTENTION_SCORES_INL_H_
#undef TIDEMARK_OPS_ATTENTION_SCORES_INL_H_
#else
#define TIDEMARK_OPS_ATTENTION_SCORES_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "compute/philox.h"
#include "hwy/highway.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_tiles-inl.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Where a tile is.
struct Place {
  std::int64_t sequence;
  std::int64_t head;
  std::int64_t first_query;
  std::int64_t queries;
};

HWY_INLINE Place place_of(const AttentionShape& shape, std::int64_t sequence, std::int64_t head,
                          std::int64_t first_query) {
  return {sequence, head, first_query, HWY_MIN(kAttentionTile, shape.queries - first_query)};
}

// Keys of a tile and their values. Rows of hidden ones are zeros: whatever they hold is not looked at.
struct KeyTile {
  std::int64_t first;
  std::int64_t count;
  const std::uint8_t* hidden;
  float* k;
  float* v;
};

// False where no key of it is seen.
HWY_INLINE bool load_keys(const AttentionShape& shape, const AttentionInputs& in, std::int64_t sequence,
                          std::int64_t key_head, KeyTile* tile) {
  const TileSizes sizes(shape);
  tile->count = HWY_MIN(kAttentionTile, shape.keys - tile->first);
  tile->hidden = in.hidden == nullptr ? nullptr : in.hidden + sequence * shape.keys + tile->first;
  if (tile->hidden != nullptr && std::all_of(tile->hidden, tile->hidden + tile->count, [](auto h) { return h != 0; })) {
    return false;
  }
  copy_rows(tile->count, shape.size, in.k.at(sequence, key_head, tile->first), in.k.row_step, tile->hidden, tile->k,
            sizes.row);
  if (in.v.data == nullptr) return true;
  copy_rows(tile->count, shape.value_size, in.v.at(sequence, key_head, tile->first), in.v.row_step, tile->hidden,
            tile->v, sizes.value_row);
  return true;
}

// scores[key][query], which are -inf where a query does not see a key. `query_columns` are scaled.
HWY_INLINE void score_tile(const AttentionShape& shape, const AttentionInputs& in, const Place& at, const KeyTile& keys,
                           const float* query_columns, float* bias, float* scores) {
  const Wide d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto all = [&](std::int64_t) { return Steps{0, 0, shape.size, 0}; };
  product<false>(keys.count, at.queries, all, {keys.k, TileSizes(shape).row, 1},
                 {query_columns, panel_width(), kAttentionTile}, scores, kAttentionTile);
  if (shape.biased) {
    const float* from = in.bias.at(at.sequence, at.head, at.first_query) + keys.first * in.bias_column_step;
    copy_columns(at.queries, keys.count, 1, from, in.bias.row_step, in.bias_column_step, bias);
    for (std::int64_t j = 0; j < keys.count; ++j) {
      const std::int64_t row = j * kAttentionTile;
      for (std::int64_t i = row; i < row + at.queries; i += lanes) {
        hn::StoreU(hn::Add(hn::LoadU(d, scores + i), hn::LoadU(d, bias + i)), d, scores + i);
      }
    }
  }
  for (std::int64_t j = 0; j < keys.count; ++j) {
    const bool hidden = keys.hidden != nullptr && keys.hidden[j] != 0;
    const std::int64_t earlier = shape.causal ? keys.first + j - at.first_query : 0;
    const std::int64_t unseen = hidden ? kAttentionTile : HWY_MIN(at.queries, HWY_MAX(earlier, 0));
    std::fill_n(scores + j * kAttentionTile, unseen, -std::numeric_limits<float>::infinity());
  }
}

// Of a key's probabilities: what dropout multiplies them with. Word i of the stream decides about a pair of a query and
// a key, where those of a key lie together, from a multiple of four on.
class Mask {
 public:
  Mask(const AttentionShape& shape, const AttentionInputs& in, const Place& at)
      : step_(round_up(shape.queries, 4)),
        first_((at.sequence * shape.heads + at.head) * shape.keys * step_ + at.first_query),
        count_(round_up(at.queries, 4)),
        threshold_(static_cast<std::uint32_t>(std::min(static_cast<double>(shape.dropout) * 0x1p32, 0x1p32 - 1))),
        keep_(shape.dropout < 1 ? 1.0f / (1.0f - shape.dropout) : 0.0f),
        key_(compute::philox_key(in.rng)) {}

  void draw(std::int64_t key) {
    compute::random_words(key_, first_ + key * step_, first_ + key * step_ + count_, words_);
  }
  HWY_INLINE hn::Vec<Wide> factors(std::int64_t query) const {
    const hn::RebindToUnsigned<Wide> du;
    const auto dropped = hn::Lt(hn::LoadU(du, words_ + query), hn::Set(du, threshold_));
    return hn::IfThenZeroElse(hn::RebindMask(Wide(), dropped), hn::Set(Wide(), keep_));
  }

 private:
  std::int64_t step_;
  std::int64_t first_;
  std::int64_t count_;
  std::uint32_t threshold_;
  float keep_;
  compute::PhiloxKey key_;
  std::uint32_t words_[kAttentionTile] = {};
};

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
