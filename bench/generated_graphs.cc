#include "bench/generated_graphs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "tidemark/error.h"

namespace tidemark::bench {
namespace {

using scheduler::BufferId;
using scheduler::Graph;
using scheduler::Op;
using scheduler::OpId;
using scheduler::Phase;

constexpr std::int64_t kUnit = 64 << 10;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0xD1342543DE82EF95U + 0x632BE59BD9B4E019U) {}
  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 33)) * 0xFF51AFD7ED558CCDU;
    z = (z ^ (z >> 33)) * 0xC4CEB9FE1A85EC53U;
    return z ^ (z >> 33);
  }
  int below(int n) { return static_cast<int>(next() % static_cast<std::uint64_t>(n)); }
  int between(int least, int most) { return least + below(most - least + 1); }

 private:
  std::uint64_t state_;
};

// Forward ops with what their gradients read, and the backward program derived from it.
class Tape {
 public:
  Tape(Graph& graph, Random& random) : graph_(graph), random_(random) {}

  using Value = BufferId;
  struct Kind {
    const char* name;
    double cost;                  // forward; each gradient costs about as much
    bool save_inputs = false;     // for the data gradients
    bool save_output = false;     // for the data gradients
    std::int64_t weight = 0;      // units of a parameter; its gradient reads the first input
    std::int64_t scratch = 0;     // units, in every direction
    bool passes_through = false;  // the gradient of each input is the output's
    int tied = -1;                // ops of equal number share one parameter, and add to one gradient in place
  };

  Value input(std::int64_t units, bool pinned) { return buffer(units, pinned); }

  Value apply(const Kind& kind, std::vector<Value> inputs, std::int64_t units) {
    Node node{kind, inputs, buffer(units), -1, kind.cost * (0.9 + 0.02 * random_.below(11))};
    if (kind.weight > 0) node.weight = parameter(kind);
    if (node.weight >= 0) inputs.push_back(node.weight);
    op(kind.name, Phase::kForward, node.cost, inputs, {node.output}, kind.scratch);
    nodes_.push_back(std::move(node));
    return nodes_.back().output;
  }

  // Gradients of everything from `loss` down; inputs of the program get none. Parameters' gradients are kept, or read
  // by an update that follows each.
  void backward(Value loss, bool fused_update) {
    gradient_.assign(graph_.buffers.size(), -1);
    const BufferId seed = buffer_of_bytes(graph_.buffers[loss].bytes);
    op("loss", Phase::kForward, 1, {loss}, {seed});
    accumulate(loss, seed);
    std::vector<char> made(graph_.buffers.size(), 0);
    for (const Node& node : nodes_) made[node.output] = 1;
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      const Node node = nodes_[i];
      const BufferId gy = gradient_[node.output];
      if (gy < 0) continue;
      if (node.weight >= 0) {
        const bool first = gradient_[node.weight] < 0;
        if (first) gradient_[node.weight] = buffer_of_bytes(graph_.buffers[node.weight].bytes);
        const BufferId gw = gradient_[node.weight];
        std::vector<BufferId> writes;
        if (first) writes.push_back(gw);
        const OpId id = op("weight_gradient", Phase::kBackward, node.cost, {gy, node.inputs[0]}, std::move(writes),
                           node.kind.scratch);
        if (!first) {
          graph_.ops[id].updates = {gw};
        } else if (fused_update) {
          const OpId update = op("update", Phase::kUpdate, 0.01 * node.cost, {gw}, {});
          graph_.ops[update].updates = {node.weight};
          // The data gradient reads the weight as it was.
          pending_update_ = update;
        } else {
          graph_.keep.push_back(gw);
        }
      }
      data_gradients(node, gy, made);
      if (pending_update_ >= 0 && pending_update_ + 1 < static_cast<OpId>(graph_.ops.size())) {
        std::rotate(graph_.ops.begin() + pending_update_, graph_.ops.begin() + pending_update_ + 1, graph_.ops.end());
      }
      pending_update_ = -1;
    }
  }

 private:
  struct Node {
    Kind kind;
    std::vector<Value> inputs;
    Value output;
    BufferId weight;
    double cost;
  };

  BufferId buffer_of_bytes(std::int64_t bytes, bool pinned = false) {
    graph_.buffers.push_back({bytes, "", pinned});
    if (!gradient_.empty()) gradient_.push_back(-1);
    return static_cast<BufferId>(graph_.buffers.size()) - 1;
  }
  BufferId buffer(std::int64_t units, bool pinned = false) { return buffer_of_bytes(units * kUnit, pinned); }

  BufferId parameter(const Kind& kind) {
    const auto tied = static_cast<std::size_t>(kind.tied);
    if (kind.tied < 0) return buffer(kind.weight, true);
    if (tied_.size() <= tied) tied_.resize(tied + 1, -1);
    if (tied_[tied] < 0) tied_[tied] = buffer(kind.weight, true);
    return tied_[tied];
  }

  OpId op(const char* name, Phase phase, double cost, std::vector<BufferId> reads, std::vector<BufferId> writes,
          std::int64_t scratch = 0) {
    Op made;
    made.name = name;
    made.phase = phase;
    made.cost = cost;
    std::sort(reads.begin(), reads.end());
    reads.erase(std::unique(reads.begin(), reads.end()), reads.end());
    made.reads = std::move(reads);
    made.writes = std::move(writes);
    made.scratch = scratch * kUnit;
    graph_.ops.push_back(std::move(made));
    return static_cast<OpId>(graph_.ops.size()) - 1;
  }

  void data_gradients(const Node& node, BufferId gy, const std::vector<char>& made) {
    for (const Value x : node.inputs) {
      if (!made[x]) continue;
      if (node.kind.passes_through) {
        accumulate(x, gy);
        continue;
      }
      std::vector<BufferId> reads{gy};
      if (node.weight >= 0) reads.push_back(node.weight);
      if (node.kind.save_inputs) reads.insert(reads.end(), node.inputs.begin(), node.inputs.end());
      if (node.kind.save_output) reads.push_back(node.output);
      const BufferId gx = buffer_of_bytes(graph_.buffers[x].bytes);
      const OpId id = op("data_gradient", Phase::kBackward, node.cost, reads, {gx}, node.kind.scratch);
      const bool elementwise = node.weight < 0 && node.inputs.size() == 1;
      if (elementwise && graph_.buffers[gy].bytes >= graph_.buffers[gx].bytes) graph_.ops[id].overwrites = {{gy, gx}};
      accumulate(x, gx);
    }
  }

  void accumulate(Value x, BufferId g) {
    if (gradient_[x] < 0) {
      gradient_[x] = g;
      return;
    }
    const BufferId sum = buffer_of_bytes(graph_.buffers[x].bytes);
    const BufferId before = gradient_[x];
    const OpId id = op("accumulate", Phase::kBackward, 1 + static_cast<double>(graph_.buffers[x].bytes) / kUnit * 0.02,
                       {before, g}, {sum});
    if (before != g && graph_.buffers[g].bytes == graph_.buffers[x].bytes) graph_.ops[id].overwrites = {{g, sum}};
    gradient_[x] = sum;
  }

  Graph& graph_;
  Random& random_;
  std::vector<Node> nodes_;
  std::vector<BufferId> gradient_;  // of a buffer
  std::vector<BufferId> tied_;
  OpId pending_update_ = -1;
};

using Value = Tape::Value;
using Kind = Tape::Kind;

Kind conv(std::int64_t units, int width) {
  return {"conv", 2.0 + static_cast<double>(units) * width * 0.02, false, false, 1 + width / 4, units / 8};
}
Kind norm(std::int64_t units) { return {"norm", 0.5 + static_cast<double>(units) * 0.08, true}; }
Kind relu(std::int64_t units) { return {"relu", 0.2 + static_cast<double>(units) * 0.04, false, true}; }
Kind add(std::int64_t units) { return {"add", 0.2 + static_cast<double>(units) * 0.06, false, false, 0, 0, true}; }
Kind linear(std::int64_t units, int width) {
  return {"linear", 1.0 + static_cast<double>(units) * width * 0.03, false, false, 2 + width / 2, 0};
}
Kind tied_linear(std::int64_t units, int width, int parameter) {
  Kind kind = linear(units, width);
  kind.tied = parameter;
  return kind;
}
Kind pool(std::int64_t units) { return {"pool", 0.2 + static_cast<double>(units) * 0.05, true}; }
Kind concat(std::int64_t units) { return {"concat", 0.2 + static_cast<double>(units) * 0.05}; }

// Activations shrink and channels grow with depth, as in networks for images.
std::int64_t stage_units(int i, int n) {
  static constexpr std::array<std::int64_t, 5> kUnits{64, 32, 32, 16, 8};
  return kUnits[static_cast<std::size_t>(std::min(4, i * 5 / std::max(1, n)))];
}
int stage_width(int i, int n) { return 4 << std::min(4, i * 5 / std::max(1, n)); }

void chain(Tape& t, Random& r, int ops) {
  const int layers = std::max(2, ops / 5);
  Value x = t.input(48, false);
  for (int i = 0; i < layers; ++i) {
    const std::int64_t units = stage_units(i, layers) + r.below(9);
    x = t.apply(conv(units, stage_width(i, layers)), {x}, units);
    x = t.apply(relu(units), {x}, units);
  }
  t.backward(x, r.below(2) == 0);
}

void residual(Tape& t, Random& r, int ops) {
  const int blocks = std::max(1, ops / 19);
  Value x = t.input(64, false);
  std::int64_t before = 0;
  for (int i = 0; i < blocks; ++i) {
    const std::int64_t units = stage_units(i, blocks);
    const int width = stage_width(i, blocks) + r.below(4);
    Value skip = x;
    if (units != before) skip = t.apply(conv(units, width), {x}, units);
    before = units;
    for (int k = 0; k < 2; ++k) {
      x = t.apply(conv(units, width), {x}, units);
      x = t.apply(norm(units), {x}, units);
      if (k == 0) x = t.apply(relu(units), {x}, units);
    }
    x = t.apply(add(units), {x, skip}, units);
    x = t.apply(relu(units), {x}, units);
  }
  t.backward(x, r.below(2) == 0);
}

void dense(Tape& t, Random& r, int ops) {
  const int layers = std::max(2, ops / 14);
  Value x = t.input(32, false);
  std::vector<Value> block{x};
  std::int64_t wide = 32;
  for (int i = 0; i < layers; ++i) {
    const std::int64_t growth = 2 + r.below(5);
    Value y = block.size() > 1 ? t.apply(concat(wide), block, wide) : block[0];
    y = t.apply(norm(wide), {y}, wide);
    y = t.apply(conv(growth, 24), {y}, growth);
    block.push_back(y);
    wide += growth;
    if (block.size() == 7) {
      y = t.apply(concat(wide), block, wide);
      y = t.apply(conv(wide / 2, 12), {y}, wide / 2);
      wide = std::max<std::int64_t>(8, wide / 4);
      block = {t.apply(pool(wide), {y}, wide)};
    }
  }
  Value y = block.back();
  t.backward(y, r.below(2) == 0);
}

void unet(Tape& t, Random& r, int ops) {
  const int depth = std::clamp(static_cast<int>(std::log2(ops)) - 3, 2, 7);
  const int convs = std::max(1, ops / (2 * depth * 5));
  Value x = t.input(96, false);
  std::vector<std::pair<Value, std::int64_t>> skips;
  std::int64_t units = 96;
  const auto stage = [&](int level) {
    for (int k = 0; k < convs; ++k) {
      x = t.apply(conv(units, (4 << std::min(level, 5)) + r.below(3)), {x}, units);
      x = t.apply(relu(units), {x}, units);
    }
  };
  for (int level = 0; level < depth; ++level) {
    stage(level);
    skips.emplace_back(x, units);
    const std::int64_t half = std::max<std::int64_t>(2, units / 2);
    x = t.apply(pool(half), {x}, half);
    units = half;
  }
  stage(depth);
  for (int level = depth; level-- > 0;) {
    const auto [skip, wide] = skips[static_cast<std::size_t>(level)];
    x = t.apply({"upsample", 0.3 + 0.05 * static_cast<double>(wide)}, {x}, wide);
    x = t.apply(concat(2 * wide), {x, skip}, 2 * wide);
    units = wide;
    stage(level);
  }
  t.backward(x, r.below(2) == 0);
}

void recurrent(Tape& t, Random& r, int ops) {
  const int steps = std::max(2, ops / 13);
  const std::int64_t hidden = 4 + r.below(5);
  Value h = t.input(hidden, false);
  Value c = t.input(hidden, false);
  for (int i = 0; i < steps; ++i) {
    const Value x = t.input(2, true);
    const Value gates = t.apply(tied_linear(hidden, 16, 0), {h, x}, 4 * hidden);
    const Value active = t.apply({"gates", 1.0 + 0.1 * static_cast<double>(hidden), false, true}, {gates}, 4 * hidden);
    c = t.apply({"cell", 0.5 + 0.05 * static_cast<double>(hidden), true}, {active, c}, hidden);
    h = t.apply({"output", 0.5 + 0.05 * static_cast<double>(hidden), true}, {active, c}, hidden);
  }
  t.backward(h, false);
}

// Leaves combined pairwise in an order that the seed chooses, as in a tree-shaped recurrent network.
void tree(Tape& t, Random& r, int ops) {
  const int leaves = std::max(2, ops / 11);
  std::vector<Value> open;
  const auto combine = [&] {
    const std::int64_t units = 6;
    const std::size_t i = static_cast<std::size_t>(r.below(static_cast<int>(open.size()) - 1));
    const Value pair = t.apply(tied_linear(units, 12, 0), {open[i], open[i + 1]}, units);
    open[i] = t.apply({"tanh", 0.6, false, true}, {pair}, units);
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(i) + 1);
  };
  for (int i = 0; i < leaves; ++i) {
    const Value word = t.input(1, true);
    open.push_back(t.apply(tied_linear(4, 8, 1), {word}, 4 + r.below(3)));
    while (open.size() > 2 && r.below(3) != 0) combine();
  }
  while (open.size() > 1) combine();
  t.backward(open[0], false);
}

void attention(Tape& t, Random& r, int ops) {
  const int layers = std::max(1, ops / 45);
  const std::int64_t d = 12;
  const std::int64_t scores = 24 + 4 * r.below(7);
  Value x = t.input(d, false);
  for (int i = 0; i < layers; ++i) {
    const Value n1 = t.apply(norm(d), {x}, d);
    std::array<Value, 3> qkv{};
    for (Value& v : qkv) v = t.apply(linear(d, 16), {n1}, d);
    Value s = t.apply({"scores", 6, true}, {qkv[0], qkv[1]}, scores);
    s = t.apply({"softmax", 3, false, true}, {s}, scores);
    Value y = t.apply({"mix", 6, true}, {s, qkv[2]}, d);
    y = t.apply(linear(d, 16), {y}, d);
    x = t.apply(add(d), {x, y}, d);
    y = t.apply(norm(d), {x}, d);
    y = t.apply(linear(4 * d, 16), {y}, 4 * d);
    y = t.apply({"gelu", 3, true}, {y}, 4 * d);
    y = t.apply(linear(d, 64), {y}, d);
    x = t.apply(add(d), {x, y}, d);
  }
  t.backward(x, r.below(2) == 0);
}

// A network written with small ops: each layer a run of elementwise ops of one input or two, some kept for much later.
void eager(Tape& t, Random& r, int ops) {
  std::vector<Value> recent{t.input(16, false)};
  const int forward = std::max(4, ops * 2 / 5);
  for (int i = 0; i < forward; ++i) {
    const std::int64_t units = 4 << r.below(4);
    const Value x = recent[recent.size() - 1 -
                           static_cast<std::size_t>(r.below(std::min<int>(3, static_cast<int>(recent.size()))))];
    const int kind = r.below(10);
    if (kind < 2) {
      recent.push_back(t.apply(linear(units, 8), {x}, units));
    } else if (kind < 4) {
      const Value y = recent[recent.size() - 1 -
                             static_cast<std::size_t>(r.below(std::min<int>(40, static_cast<int>(recent.size()))))];
      recent.push_back(t.apply({"mul", 0.1 * static_cast<double>(units), true}, {recent.back(), y}, units));
    } else {
      recent.push_back(t.apply({"unary", 0.08 * static_cast<double>(units), r.below(2) == 0, r.below(2) == 0},
                               {recent.back()}, units));
    }
  }
  Value loss = recent.back();
  for (std::size_t i = recent.size() - std::min<std::size_t>(recent.size(), 4); i + 1 < recent.size(); ++i) {
    loss = t.apply(add(4), {loss, recent[i]}, 4);
  }
  t.backward(loss, false);
}

// Layers of random width whose ops read any of the last two layers and some older value.
void random(Graph& graph, Random& r, int ops) {
  graph.buffers.push_back({4 * kUnit, "", true});
  std::vector<BufferId> all{0};
  std::size_t layer_begin = 0;
  while (static_cast<int>(graph.ops.size()) < ops) {
    const std::size_t layer_end = all.size();
    const int width = 1 + r.below(6);
    for (int i = 0; i < width; ++i) {
      Op op;
      op.name = "op";
      op.cost = 1 + r.below(100);
      const int reads = 1 + r.below(4);
      for (int k = 0; k < reads; ++k) {
        const std::size_t from = r.below(4) == 0 ? 0 : layer_begin;
        op.reads.push_back(all[from + static_cast<std::size_t>(r.below(static_cast<int>(layer_end - from)))]);
      }
      std::sort(op.reads.begin(), op.reads.end());
      op.reads.erase(std::unique(op.reads.begin(), op.reads.end()), op.reads.end());
      graph.buffers.push_back({(1 + r.below(32)) * kUnit, "", false});
      op.writes = {static_cast<BufferId>(graph.buffers.size()) - 1};
      all.push_back(op.writes[0]);
      graph.ops.push_back(std::move(op));
    }
    layer_begin = layer_end > 6 ? layer_end - 6 : 0;
  }
  graph.keep = {all.back()};
}

constexpr std::array<const char*, 9> kFamilies{"chain", "residual",  "dense", "unet",  "recurrent",
                                               "tree",  "attention", "eager", "random"};

}  // namespace

std::span<const char* const> families() { return kFamilies; }

Graph generate(const std::string& family, int ops, std::uint64_t seed) {
  using Record = void (*)(Tape&, Random&, int);
  static constexpr std::array<std::pair<const char*, Record>, 8> kRecorded{{{"chain", chain},
                                                                            {"residual", residual},
                                                                            {"dense", dense},
                                                                            {"unet", unet},
                                                                            {"recurrent", recurrent},
                                                                            {"tree", tree},
                                                                            {"attention", attention},
                                                                            {"eager", eager}}};
  Graph graph;
  graph.name = family + "-" + std::to_string(ops) + "-" + std::to_string(seed);
  Random r(seed);
  if (family == "random") {
    random(graph, r, ops);
    return graph;
  }
  const auto found = std::find_if(kRecorded.begin(), kRecorded.end(), [&](const auto& f) { return family == f.first; });
  if (found == kRecorded.end()) throw Error("there is no family of graphs called " + family);
  Tape tape(graph, r);
  found->second(tape, r, ops);
  return graph;
}

}  // namespace tidemark::bench
