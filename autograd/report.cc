// What happened, in words and numbers.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/engine.h"
#include "compute/philox.h"

namespace tidemark {
namespace detail {
namespace {

// VmRSS and VmHWM of this process in bytes; 0 where the kernel does not say.
std::int64_t process_bytes(const char* key) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/status", "r"), std::fclose);
  if (file == nullptr) return 0;
  char line[256];
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) return std::atoll(line + std::strlen(key) + 1) * 1024;
  }
  return 0;
}

}  // namespace

Engine::Engine(Session& session, const SessionOptions& options)
    : session_(session),
      options_(options),
      binding_(options.threads > 0 ? options.threads : compute::allowed_cpus()),
      machine_(std::make_unique<compute::Machine>(binding_.threads())),
      arena_(options.dry_run ? memory::Arena::without_memory(options.budget) : memory::Arena(options.budget)) {
  options_.threads = machine_->threads();
}

Engine::~Engine() {
  for (Value& value : tape_.values) {
    if (value.leaf != nullptr && --value.leaf->refs == 0) {
      // The program has let go of this leaf, and the tape was its last holder.
      Handle* leaf = value.leaf;
      if (leaf->grad != nullptr && --leaf->grad->refs == 0) delete_handle(leaf->grad);
      delete_handle(leaf);
    }
  }
  for (Handle* handle = handles_; handle != nullptr; handle = handle->next) handle->engine = nullptr;
}

std::int64_t Engine::fixed_bytes() const {
  const auto& ledger = arena_.ledger();
  return ledger.live(Category::kParameters) + ledger.live(Category::kGradients) + ledger.live(Category::kOptimizer) +
         ledger.live(Category::kBatch);
}

// What stays while the op runs and is not among its inputs; the sum is shortage.pinned.
std::string Engine::pinned_by_category(const scheduler::Shortage& shortage) const {
  std::array<std::int64_t, kCategories> bytes{};
  std::int64_t others = shortage.pinned;
  const auto input = [&](BufferId buffer) {
    if (shortage.op == kNone || buffer == kNone) return false;
    const scheduler::Op& op = tape_.graph.ops[shortage.op];
    return std::find(op.reads.begin(), op.reads.end(), buffer) != op.reads.end() ||
           std::find(op.updates.begin(), op.updates.end(), buffer) != op.updates.end();
  };
  for (const Storage& storage : storages_) {
    if (!storage.persistent || storage.offset == kNone || input(storage.buffer)) continue;
    const std::int64_t rounded = memory::Extents::round_up(storage.bytes);
    bytes[static_cast<std::size_t>(storage.category)] += rounded;
    others -= rounded;
  }
  std::string text;
  const auto add = [&](const std::string& what, std::int64_t count) {
    if (count > 0) absl::StrAppend(&text, text.empty() ? "" : ", ", what, " ", format_bytes(count));
  };
  for (std::size_t c = 0; c < bytes.size(); ++c) add(std::string(to_string(static_cast<Category>(c))), bytes[c]);
  add("values that are held", others);
  return text.empty() ? "nothing of the model yet" : text;
}

scheduler::Graph Engine::export_graph() const {
  scheduler::Graph graph = tape_.graph;
  graph.name = absl::StrCat("step ", step_ + 1);
  graph.keep.clear();
  for (std::size_t b = 0; b < tape_.buffer_storage.size(); ++b) {
    const Storage& storage = storages_[tape_.buffer_storage[b]];
    if (storage.persistent && (storage.pinned || storage.handles + storage.reads > 0)) {
      graph.keep.push_back(static_cast<BufferId>(b));
    }
  }
  return graph;
}

scheduler::Graph Engine::graph() const {
  const bool under_way = !tape_.graph.ops.empty();
  scheduler::Graph graph = under_way ? export_graph() : last_tape_.graph;
  for (const Node& node : under_way ? tape_.nodes : last_tape_.nodes) {
    if (node.op != kNone && node.where.line > 0)
      absl::StrAppend(&graph.ops[node.op].name, " at ", to_string(node.where));
  }
  return graph;
}

Report Engine::report() const {
  const auto& ledger = arena_.ledger();
  Report report;
  report.budget = options_.budget;
  report.peak_bytes = ledger.peak();
  report.reserved_bytes = arena_.reserved_peak();
  report.live_bytes = ledger.total();
  report.fixed_bytes = fixed_peak_;
  report.rss_bytes = process_bytes("VmRSS");
  report.rss_peak_bytes = process_bytes("VmHWM");
  for (int c = 0; c < kCategories; ++c) {
    report.live_by_category[c] = ledger.live(static_cast<Category>(c));
    report.peak_by_category[c] = ledger.peak_by_category()[static_cast<std::size_t>(c)];
  }
  report.primitives = machine_->kernels_made();
  report.steps = steps_done_;
  report.planned_steps = planned_steps_;
  report.last_step = last_;
  report.recomputed_ops = recomputed_ops_ + current_.recomputed_ops;
  report.plan_seconds = plan_seconds_;
  if (last_plans_.base_cost > 0) {
    report.plan_cost = last_plans_.cost / last_plans_.base_cost - 1;
    report.plan_bound = last_plans_.lower_bound / last_plans_.base_cost - 1;
  }
  return report;
}

std::string Engine::explain() const {
  const Tape& tape = tape_.graph.ops.empty() ? last_tape_ : tape_;
  std::string text = absl::StrFormat("%-28s %-24s %-20s %10s  %s\n", "value", "shape", "line", "bytes", "fate");
  for (const Node& node : tape.nodes) {
    if (node.op == kNone) continue;
    const scheduler::Op& op = tape.graph.ops[node.op];
    for (ValueId id : node.outputs) {
      const Value& value = tape.values[id];
      std::string fate = "kept until its last use";
      if (op.once) {
        fate = "kept: not computed again";
      } else if (node.replays > 0) {
        fate = absl::StrCat("discarded, recomputed ", node.replays, node.replays == 1 ? " time" : " times",
                            ": the budget had no room for it until its next use");
      }
      absl::StrAppendFormat(&text, "%-28s %-24s %-20s %10s  %s\n", op.name, value.meta.shape.to_string(),
                            to_string(node.where), format_bytes(value.meta.bytes), fate);
    }
  }
  return text;
}

void Engine::fill_uniform(Handle* handle, float low, float high) {
  const RngKey key = next_key();
  if (options_.dry_run) return;
  auto* out = static_cast<float*>(leaf_data(handle));
  const std::int64_t count = handle->meta.shape.numel();
  compute::random_uniform(compute::philox_key(key), 0, count, out);
  for (std::int64_t i = 0; i < count; ++i) out[i] = low + (high - low) * out[i];
}

void Engine::fill_normal(Handle* handle, float mean, float stddev) {
  const RngKey key = next_key();
  if (options_.dry_run) return;
  auto* out = static_cast<float*>(leaf_data(handle));
  const std::int64_t count = handle->meta.shape.numel();
  compute::random_normal(compute::philox_key(key), 0, count, out);
  for (std::int64_t i = 0; i < count; ++i) out[i] = mean + stddev * out[i];
}

void Engine::set_requires_grad(Handle* handle, bool on) {
  handle->requires_grad = on;
  if (handle->generation == generation_) handle->value = kNone;  // ops recorded from now on see the change
  if (!on) zero_grad(handle);
}

Tensor Engine::new_batch(const Meta& meta, SourceLocation where) {
  const StorageId id = new_pinned_storage(meta.bytes, Category::kBatch, where);
  Tensor front = Access::adopt(new_leaf_handle(meta, id, where));
  --storages_[id].handles;  // the storage was born with one
  return front;
}

}  // namespace detail

std::string Report::summary() const {
  std::string text = "peak ";
  absl::StrAppend(&text, format_bytes(peak_bytes));
  if (budget) absl::StrAppend(&text, " of ", format_bytes(*budget));
  absl::StrAppend(&text, ", ", last_step.recomputed_ops, " ops recomputed a step");
  if (plan_cost > 0)
    absl::StrAppendFormat(&text, ", +%.1f %% work (bound +%.1f %%)", 100 * plan_cost, 100 * plan_bound);
  return text;
}

}  // namespace tidemark
