#include "ops/attention/attention.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                          // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <limits>

#include "ops/attention/attention_scores-inl.h"
#include "ops/attention/attention_tiles-inl.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"

#ifndef TIDEMARK_OPS_ATTENTION_SHARED_
#define TIDEMARK_OPS_ATTENTION_SHARED_
namespace tidemark::ops {

// What backward reads of the output's side.
struct AttentionOutcome {
  const float* largest;
  const float* inverse;
  const float* slope_means;  // the mean slope of each row's probabilities: gy . out
  Heads<const float> gy;
};

// Sums of gradients of keys and values, [keys, TileSizes::row] and [keys, TileSizes::value_row]; null where not wanted.
struct KeySums {
  float* k;
  float* v;
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Numbers of each query of a tile.
using PerQuery = float[kAttentionTile];

// Makes scores e^(score - largest) and adds up those of each query. `largest` grows, and `shrink` says what earlier
// sums are to be multiplied with.
void exponentials(std::int64_t keys, std::int64_t queries, float* scores, float* largest, float* shrink, float* sums) {
  const Wide d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < queries; i += lanes) {
    const auto before = hn::LoadU(d, largest + i);
    auto most = before;
    for (std::int64_t j = 0; j < keys; ++j) most = hn::Max(hn::LoadU(d, scores + j * kAttentionTile + i), most);
    hn::StoreU(most, d, largest + i);
    // A query that has seen no key: anything finite keeps e^(-inf - most) at zero.
    const auto unseen = hn::Eq(most, hn::Set(d, -std::numeric_limits<float>::infinity()));
    most = hn::IfThenZeroElse(unseen, most);
    hn::StoreU(exp(d, hn::Sub(before, most)), d, shrink + i);
    auto sum = hn::Zero(d);
    for (std::int64_t j = 0; j < keys; ++j) {
      float* at = scores + j * kAttentionTile + i;
      const auto e = exp(d, hn::Sub(hn::LoadU(d, at), most));
      sum = hn::Add(sum, e);
      hn::StoreU(e, d, at);
    }
    hn::StoreU(sum, d, sums + i);
  }
}

void drop(const Place& at, const KeyTile& keys, Mask* mask, float* probabilities) {
  const Wide d;
  for (std::int64_t j = 0; j < keys.count; ++j) {
    mask->draw(keys.first + j);
    for (std::int64_t i = 0; i < at.queries; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      float* p = probabilities + j * kAttentionTile + i;
      hn::StoreU(hn::Mul(hn::LoadU(d, p), mask->factors(i)), d, p);
    }
  }
}

// Keys are taken tile by tile up to the end, or to the tile of the queries themselves.
std::int64_t keys_end(const AttentionShape& shape, std::int64_t first_query) {
  return shape.causal ? HWY_MIN(shape.keys, first_query + kAttentionTile) : shape.keys;
}

void attention_forward_tiles(const AttentionShape& shape, const AttentionInputs& in, std::int64_t sequence,
                             std::int64_t head, std::int64_t first_query, float* scratch, const Heads<float>& out,
                             float* largest_out, float* inverse_out) {
  const TileSizes sizes(shape);
  float* query_columns = scratch;
  float* k = query_columns + sizes.columns;
  float* v = k + sizes.rows;
  float* sums = v + sizes.value_rows;
  float* scores = sums + sizes.value_rows;
  float* bias = scores + sizes.scores;
  const Place at = place_of(shape, sequence, head, first_query);
  HWY_ALIGN PerQuery largest;
  HWY_ALIGN PerQuery shrink;
  HWY_ALIGN PerQuery added;
  double totals[kAttentionTile] = {};
  std::fill_n(largest, kAttentionTile, -std::numeric_limits<float>::infinity());
  std::fill_n(sums, sizes.value_rows, 0.0f);
  Mask mask(shape, in, at);
  copy_columns(at.queries, shape.size, shape.scale, in.q.at(sequence, head, first_query), in.q.row_step, 1,
               query_columns);
  for (std::int64_t first = 0; first < keys_end(shape, first_query); first += kAttentionTile) {
    KeyTile keys{first, 0, nullptr, k, v};
    if (!load_keys(shape, in, sequence, head / shape.group(), &keys)) continue;
    score_tile(shape, in, at, keys, query_columns, bias, scores);
    exponentials(keys.count, at.queries, scores, largest, shrink, added);
    for (std::int64_t i = 0; i < at.queries; ++i) {
      totals[i] = totals[i] * static_cast<double>(shrink[i]) + static_cast<double>(added[i]);
      if (shrink[i] == 1) continue;
      const auto factor = hn::Set(Wide(), shrink[i]);
      float* row = sums + i * sizes.value_row;
      map(
          shape.value_size, row, [&](auto s) HWY_ATTR { return hn::Mul(s, factor); }, row);
    }
    if (shape.dropout > 0) drop(at, keys, &mask, scores);
    const bool diagonal = shape.causal && first == first_query;
    product<true>(
        at.queries, shape.value_size, [&](std::int64_t row) { return seen_keys(diagonal, row, keys.count); },
        {scores, 1, kAttentionTile}, {v, panel_width(), sizes.value_row}, sums, sizes.value_row);
  }
  for (std::int64_t i = 0; i < at.queries; ++i) {
    const bool seen = totals[i] != 0;
    largest_out[i] = seen ? largest[i] : 0.0f;
    inverse_out[i] = seen ? static_cast<float>(1.0 / totals[i]) : 0.0f;
    // What a query that sees nothing has gathered are zeros times values, which may be NaN.
    if (!seen) std::fill_n(sums + i * sizes.value_row, shape.value_size, 0.0f);
  }
  for (std::int64_t i = 0; i < at.queries; ++i) {
    const auto factor = hn::Set(Wide(), inverse_out[i]);
    map(
        shape.value_size, out.at(sequence, head, first_query + i), [&](auto s) HWY_ATTR { return hn::Mul(s, factor); },
        sums + i * sizes.value_row);
  }
}

// Queries of a tile with what belongs to them, and room for two tiles of numbers.
struct QueryTile {
  QueryTile(const AttentionShape& shape, float* scratch) {
    const TileSizes sizes(shape);
    columns = scratch;
    gy_columns = columns + sizes.columns;
    rows = gy_columns + sizes.value_columns;
    gy_rows = rows + sizes.rows;
    gq = gy_rows + sizes.value_rows;
    probabilities = gq + sizes.rows;
    slopes = probabilities + sizes.scores;
    bias = slopes + sizes.scores;
    keys = bias + sizes.bias;
    values = keys + sizes.rows;
  }
  // With gradients of the probabilities where `slopes_wanted`.
  void load(const AttentionShape& shape, const AttentionInputs& in, const AttentionOutcome& outcome, const Place& place,
            bool slopes_wanted) {
    const TileSizes sizes(shape);
    at = place;
    const float* q = in.q.at(at.sequence, at.head, at.first_query);
    const float* gy = outcome.gy.at(at.sequence, at.head, at.first_query);
    copy_columns(at.queries, shape.size, shape.scale, q, in.q.row_step, 1, columns);
    copy_rows(at.queries, shape.size, q, in.q.row_step, nullptr, rows, sizes.row);
    copy_columns(at.queries, shape.value_size, 1, gy, outcome.gy.row_step, 1, gy_columns);
    copy_rows(at.queries, shape.value_size, gy, outcome.gy.row_step, nullptr, gy_rows, sizes.value_row);
    const std::int64_t row = (at.sequence * shape.heads + at.head) * shape.queries + at.first_query;
    const auto take = [&](const float* from, float* to) {
      std::fill(std::copy_n(from + row, at.queries, to), to + kAttentionTile, 0.0f);
    };
    take(outcome.largest, largest);
    take(outcome.inverse, inverse);
    if (slopes_wanted) take(outcome.slope_means, slope_means);
  }

  Place at = {};
  float* columns;
  float* gy_columns;
  float* rows;
  float* gy_rows;
  float* gq;
  float* probabilities;
  float* slopes;
  float* bias;
  float* keys;  // of a KeyTile
  float* values;
  PerQuery largest = {};
  PerQuery inverse = {};
  PerQuery slope_means = {};
};

// With P the probabilities, D what dropout makes of them, and S the scores: gV += D' gO, gD = gO V',
// gS = P (gP - rowsum(gO O)), gQ += gS K, gK += gS' Q. Both tiles lie with a key in each row.
void gradient_tile(const AttentionShape& shape, const AttentionInputs& in, const KeyTile& keys, Mask* mask,
                   QueryTile* q, float* gq, const KeySums& sums) {
  const Wide d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const TileSizes sizes(shape);
  const std::int64_t panel = panel_width();
  const std::int64_t queries = q->at.queries;
  const bool sloped = gq != nullptr || sums.k != nullptr;
  score_tile(shape, in, q->at, keys, q->columns, q->bias, q->probabilities);
  if (sloped) {
    product<false>(
        keys.count, queries,
        [&](std::int64_t) {
          return Steps{0, 0, shape.value_size, 0};
        },
        {keys.v, sizes.value_row, 1}, {q->gy_columns, panel, kAttentionTile}, q->slopes, kAttentionTile);
  }
  for (std::int64_t j = 0; j < keys.count; ++j) {
    float* p = q->probabilities + j * kAttentionTile;
    float* s = q->slopes + j * kAttentionTile;
    if (shape.dropout > 0) mask->draw(keys.first + j);
    for (std::int64_t i = 0; i < queries; i += lanes) {
      const auto factor = shape.dropout > 0 ? mask->factors(i) : hn::Set(d, 1.0f);
      const auto e = exp(d, hn::Sub(hn::LoadU(d, p + i), hn::LoadU(d, q->largest + i)));
      const auto probability = hn::Mul(hn::LoadU(d, q->inverse + i), e);
      if (sloped) {
        const auto slope = hn::Sub(hn::Mul(factor, hn::LoadU(d, s + i)), hn::LoadU(d, q->slope_means + i));
        hn::StoreU(hn::Mul(probability, slope), d, s + i);
      }
      hn::StoreU(hn::Mul(probability, factor), d, p + i);
    }
  }
  const bool diagonal = shape.causal && keys.first == q->at.first_query;
  const auto queries_of = [&](std::int64_t row) { return seeing_queries(diagonal, row, queries); };
  if (sums.v != nullptr) {
    product<true>(keys.count, shape.value_size, queries_of, {q->probabilities, kAttentionTile, 1},
                  {q->gy_rows, panel, sizes.value_row}, sums.v, sizes.value_row);
  }
  if (sums.k != nullptr) {
    product<true>(keys.count, shape.size, queries_of, {q->slopes, kAttentionTile, 1}, {q->rows, panel, sizes.row},
                  sums.k, sizes.row);
  }
  if (gq != nullptr) {
    product<true>(
        queries, shape.size, [&](std::int64_t row) { return seen_keys(diagonal, row, keys.count); },
        {q->slopes, 1, kAttentionTile}, {keys.k, panel, sizes.row}, gq, sizes.row);
  }
}

// Rows of sums times `scale` into a gradient; zeros for hidden keys.
void write_rows(std::int64_t rows, std::int64_t columns, const float* from, std::int64_t from_step, float scale,
                const std::uint8_t* hidden, float* to, std::int64_t to_step) {
  const auto factor = hn::Set(Wide(), scale);
  for (std::int64_t row = 0; row < rows; ++row, from += from_step, to += to_step) {
    if (hidden != nullptr && hidden[row] != 0) {
      std::fill_n(to, columns, 0.0f);
    } else {
      map(
          columns, to, [&](auto s) HWY_ATTR { return hn::Mul(s, factor); }, from);
    }
  }
}

// The gradients of queries from all keys that they see; those keys' gradients are added to `sums`.
void attention_query_gradients(const AttentionShape& shape, const AttentionInputs& in, const AttentionOutcome& outcome,
                               std::int64_t sequence, std::int64_t head, std::int64_t first_query, float* scratch,
                               const KeySums& sums, const Heads<float>& to) {
  const TileSizes sizes(shape);
  QueryTile queries(shape, scratch);
  queries.load(shape, in, outcome, place_of(shape, sequence, head, first_query), true);
  Mask mask(shape, in, queries.at);
  std::fill_n(queries.gq, sizes.rows, 0.0f);
  for (std::int64_t first = 0; first < keys_end(shape, first_query); first += kAttentionTile) {
    KeyTile keys{first, 0, nullptr, queries.keys, queries.values};
    if (!load_keys(shape, in, sequence, head / shape.group(), &keys)) continue;
    const KeySums here{sums.k == nullptr ? nullptr : sums.k + first * sizes.row,
                       sums.v == nullptr ? nullptr : sums.v + first * sizes.value_row};
    gradient_tile(shape, in, keys, &mask, &queries, queries.gq, here);
  }
  write_rows(queries.at.queries, shape.size, queries.gq, sizes.row, shape.scale, nullptr,
             to.at(sequence, head, first_query), to.row_step);
}

// What was summed up for keys from `first` on.
void write_key_sums(const AttentionShape& shape, const AttentionInputs& in, std::int64_t sequence,
                    std::int64_t key_head, std::int64_t first, std::int64_t count, const KeySums& sums,
                    const AttentionGradients& to) {
  const TileSizes sizes(shape);
  const std::uint8_t* hidden = in.hidden == nullptr ? nullptr : in.hidden + sequence * shape.keys + first;
  if (sums.k != nullptr) {
    write_rows(count, shape.size, sums.k, sizes.row, shape.scale, hidden, to.k.at(sequence, key_head, first),
               to.k.row_step);
  }
  if (sums.v != nullptr) {
    write_rows(count, shape.value_size, sums.v, sizes.value_row, 1, hidden, to.v.at(sequence, key_head, first),
               to.v.row_step);
  }
}

// All gradients of a head of keys and of the heads of queries that look at it.
void attention_group_gradients(const AttentionShape& shape, const AttentionInputs& in, const AttentionOutcome& outcome,
                               std::int64_t sequence, std::int64_t key_head, float* scratch,
                               const AttentionGradients& to) {
  const TileSizes sizes(shape);
  const std::int64_t padded = round_up(shape.keys, kAttentionTile);
  const KeySums sums{to.k.data == nullptr ? nullptr : scratch,
                     to.v.data == nullptr ? nullptr : scratch + padded * sizes.row};
  float* rest = scratch + sizes.sums(shape.keys);
  std::fill(scratch, rest, 0.0f);
  for (std::int64_t head = key_head * shape.group(); head < (key_head + 1) * shape.group(); ++head) {
    for (std::int64_t first = 0; first < shape.queries; first += kAttentionTile) {
      attention_query_gradients(shape, in, outcome, sequence, head, first, rest, sums, to.q);
    }
  }
  write_key_sums(shape, in, sequence, key_head, 0, shape.keys, sums, to);
}

// The gradients of a tile of keys and values, from all queries that see it, in the same order.
void attention_key_gradients(const AttentionShape& shape, const AttentionInputs& in, const AttentionOutcome& outcome,
                             std::int64_t sequence, std::int64_t key_head, std::int64_t first, float* scratch,
                             const AttentionGradients& to) {
  const TileSizes sizes(shape);
  const KeySums sums{to.k.data == nullptr ? nullptr : scratch,
                     to.v.data == nullptr ? nullptr : scratch + kAttentionTile * sizes.row};
  float* rest = scratch + sizes.sums(kAttentionTile);
  std::fill(scratch, rest, 0.0f);
  QueryTile queries(shape, rest);
  KeyTile keys{first, 0, nullptr, queries.keys, queries.values};
  const bool seen = load_keys(shape, in, sequence, key_head, &keys);
  for (std::int64_t head = key_head * shape.group(); seen && head < (key_head + 1) * shape.group(); ++head) {
    for (std::int64_t query = shape.causal ? first : 0; query < shape.queries; query += kAttentionTile) {
      queries.load(shape, in, outcome, place_of(shape, sequence, head, query), sums.k != nullptr);
      Mask mask(shape, in, queries.at);
      gradient_tile(shape, in, keys, &mask, &queries, nullptr, sums);
    }
  }
  write_key_sums(shape, in, sequence, key_head, first, keys.count, sums, to);
}

// to[i] = x_i . y_i.
void attention_row_products(const AttentionShape& shape, const Heads<const float>& x, const Heads<const float>& y,
                            std::int64_t begin, std::int64_t end, float* to) {
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t head = i / shape.queries;
    const float* a = x.at(head / shape.heads, head % shape.heads, i % shape.queries);
    const float* b = y.at(head / shape.heads, head % shape.heads, i % shape.queries);
    to[i] = static_cast<float>(dot_row(shape.value_size, a, b));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::ops {

HWY_EXPORT(attention_forward_tiles);
HWY_EXPORT(attention_query_gradients);
HWY_EXPORT(attention_group_gradients);
HWY_EXPORT(attention_key_gradients);
HWY_EXPORT(attention_row_products);

namespace {

std::int64_t tiles(std::int64_t length) { return round_up(length, kAttentionTile) / kAttentionTile; }

// How many threads share `units` pieces of work, at most.
std::int64_t team(std::int64_t units, int threads) { return std::min<std::int64_t>(units, threads); }

// f(sequence, head, first position of a tile, scratch) for all tiles of `length` positions. A causal tile's work grows
// with its position: early and late ones take turns, so that every thread has some of both.
template <class F>
void each_tile(const Ctx& ctx, std::int64_t batch, std::int64_t heads, std::int64_t length, float* scratch,
               std::int64_t scratch_floats, F&& f) {
  const std::int64_t count = tiles(length);
  for_members(ctx, batch * heads * count, ctx.threads(),
              [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                  const std::int64_t turn = i % count;
                  const std::int64_t tile = turn % 2 == 0 ? turn / 2 : count - 1 - turn / 2;
                  const std::int64_t head = i / count;
                  f(head / heads, head % heads, tile * kAttentionTile, scratch + member * scratch_floats);
                }
              });
}

// Rows' products with the output come first in scratch, in whole cache lines.
std::int64_t slope_mean_floats(const AttentionShape& shape, const AttentionWants& wants) {
  return wants.q || wants.k ? round_up(shape.rows(), 16) : 0;
}

}  // namespace

bool attention_looks_once(const AttentionShape& shape, const AttentionWants& wants, int threads) {
  if (!wants.q || (!wants.k && !wants.v)) return false;
  // Five products a tile, but whole heads only; or four and three, of tiles.
  const std::int64_t heads = shape.batch * shape.key_heads;
  return round_up(heads, threads) * 5 <= heads * 7;
}

std::int64_t attention_forward_scratch(const AttentionShape& shape, int threads) {
  const std::int64_t units = shape.batch * shape.heads * tiles(shape.queries);
  return team(units, threads) * TileSizes(shape).forward() * size_of(f32);
}

std::int64_t attention_backward_scratch(const AttentionShape& shape, const AttentionWants& wants, int threads) {
  const TileSizes sizes(shape);
  std::int64_t floats = 0;
  if (attention_looks_once(shape, wants, threads)) {
    floats = team(shape.batch * shape.key_heads, threads) * (sizes.sums(shape.keys) + sizes.backward());
  } else {
    if (wants.q) floats = team(shape.batch * shape.heads * tiles(shape.queries), threads) * sizes.backward();
    if (wants.k || wants.v) {
      floats = std::max(floats, team(shape.batch * shape.key_heads * tiles(shape.keys), threads) *
                                    (sizes.sums(kAttentionTile) + sizes.backward()));
    }
  }
  return (slope_mean_floats(shape, wants) + floats) * size_of(f32);
}

void attention_forward(const Ctx& ctx, const AttentionShape& shape, const AttentionInputs& in, const Heads<float>& out,
                       float* statistics) {
  each_tile(ctx, shape.batch, shape.heads, shape.queries, ctx.scratch<float>(), TileSizes(shape).forward(),
            [&](std::int64_t sequence, std::int64_t head, std::int64_t first, float* scratch) {
              float* largest = statistics + (sequence * shape.heads + head) * shape.queries + first;
              HWY_DYNAMIC_DISPATCH(attention_forward_tiles)
              (shape, in, sequence, head, first, scratch, out, largest, largest + shape.rows());
            });
}

void attention_backward(const Ctx& ctx, const AttentionShape& shape, const AttentionInputs& in,
                        const Heads<const float>& out, const float* statistics, const Heads<const float>& gy,
                        const AttentionGradients& gx) {
  const TileSizes sizes(shape);
  const AttentionWants wants{gx.q.data != nullptr, gx.k.data != nullptr, gx.v.data != nullptr};
  auto* means = ctx.scratch<float>();
  float* scratch = means + slope_mean_floats(shape, wants);
  if (wants.q || wants.k) {
    for_range(ctx, shape.rows(), 8 * shape.value_size, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(attention_row_products)(shape, out, gy, begin, end, means);
    });
  }
  const AttentionOutcome outcome{statistics, statistics + shape.rows(), means, gy};
  if (attention_looks_once(shape, wants, ctx.threads())) {
    const std::int64_t floats = sizes.sums(shape.keys) + sizes.backward();
    for_members(ctx, shape.batch * shape.key_heads, ctx.threads(),
                [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                  for (std::int64_t i = begin; i < end; ++i) {
                    HWY_DYNAMIC_DISPATCH(attention_group_gradients)
                    (shape, in, outcome, i / shape.key_heads, i % shape.key_heads, scratch + member * floats, gx);
                  }
                });
    return;
  }
  if (wants.k || wants.v) {
    each_tile(ctx, shape.batch, shape.key_heads, shape.keys, scratch, sizes.sums(kAttentionTile) + sizes.backward(),
              [&](std::int64_t sequence, std::int64_t head, std::int64_t first, float* own) {
                HWY_DYNAMIC_DISPATCH(attention_key_gradients)(shape, in, outcome, sequence, head, first, own, gx);
              });
  }
  if (wants.q) {
    each_tile(ctx, shape.batch, shape.heads, shape.queries, scratch, sizes.backward(),
              [&](std::int64_t sequence, std::int64_t head, std::int64_t first, float* own) {
                HWY_DYNAMIC_DISPATCH(attention_query_gradients)
                (shape, in, outcome, sequence, head, first, own, {nullptr, nullptr}, gx.q);
              });
  }
}

}  // namespace tidemark::ops
#endif  // HWY_ONCE
