#include "autograd/replay.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "autograd/check.h"
#include "compute/sparse_rows.h"

namespace tidemark::detail {
namespace {

using scheduler::Step;
using Clock = std::chrono::steady_clock;

void add_floats(const float* a, const float* b, float* out, std::int64_t count, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

}  // namespace

Buf Replay::buf(ValueId id) {
  const Value& value = tape_.values[id];
  return {storages_.data(value.storage) + value.offset, &value.meta, false};
}

StorageId Replay::storage_of(BufferId buffer, const Unread& unread) const {
  const bool recorded = static_cast<std::size_t>(buffer) < tape_.buffer_storage.size();
  return recorded ? tape_.buffer_storage[buffer] : unread(buffer);
}

void Replay::run(std::span<const Step> steps, std::int64_t shift, const Unread& unread) {
  for (const Step& step : steps) {
    switch (step.kind) {
      case Step::Kind::kDrop:
        storages_.drop(tape_.buffer_storage[step.id]);
        tape_.history.push_back({Step::Kind::kDrop, step.id});
        break;
      case Step::Kind::kMove:
        if (const StorageId id = storage_of(step.id, unread); id != kNone) move(step, shift, id);
        break;
      case Step::Kind::kRun:
        run_op(step, shift);
        break;
    }
  }
}

void Replay::move(const Step& step, std::int64_t shift, StorageId storage) {
  const auto began = timeline_.on() ? Clock::now() : Clock::time_point();
  storages_.move(storage, step.offset + shift);
  if (!timeline_.on()) return;
  const Storage& moved = storages_[storage];
  timeline_.span(Timeline::Track::kMove, moved.name, moved.where, began, moved.bytes, 0);
}

// What the op reads from files is there from now on.
void Replay::await_files(const Node& node) {
  for (const std::span<const ValueId> list :
       {std::span<const ValueId>(node.reads), std::span<const ValueId>(node.updates)}) {
    for (ValueId id : list) {
      const StorageId storage = tape_.values[id].storage;
      if (storages_[storage].read == nullptr) continue;
      const auto began = Clock::now();
      const bool waits = storages_.being_read(storage);
      const FileRead& read = *storages_[storage].read;
      try {
        (void)storages_.data(storage);
      } catch (...) {
        rethrow_at(tape_.graph.ops[node.op].name, node.where);
      }
      if (!waits) continue;
      account_.waited(std::chrono::duration<double>(Clock::now() - began).count());
      if (timeline_.on()) timeline_.span(Timeline::Track::kData, read.name(), read.where(), began, 0, 0);
    }
  }
}

// A span of the timeline for what has just run.
void Replay::note_run(const Node& node, const scheduler::Op& op, Clock::time_point began) {
  if (node.kind == Node::Kind::kHold || node.kind == Node::Kind::kLeaf) return;
  Timeline::Track track = Timeline::Track::kForward;
  if (node.ran) {
    track = Timeline::Track::kRecompute;
  } else if (node.kind == Node::Kind::kFile) {
    track = Timeline::Track::kData;
  } else if (op.phase == scheduler::Phase::kUpdate) {
    track = Timeline::Track::kOptimizer;
  } else if (node.kind == Node::Kind::kReorder) {
    track = Timeline::Track::kReorder;
  } else if (op.phase == scheduler::Phase::kBackward) {
    track = Timeline::Track::kBackward;
  }
  timeline_.span(track, op.name, node.where, began, 0, tape_.signatures[node.op]);
}

void Replay::run_op(const Step& step, std::int64_t shift) {
  Node& node = tape_.nodes[tape_.op_nodes[step.id]];
  const scheduler::Op& op = tape_.graph.ops[step.id];
  if (node.ran && op.once) return;  // a step that starts over: what it did is still there
  const auto began = node.ran || timeline_.on() ? Clock::now() : Clock::time_point();
  if (timeline_.on()) {
    for (ValueId id : node.outputs) {
      const Value& value = tape_.values[id];
      timeline_.describe(storages_[value.storage].sequence, op.name, node.where, value.meta.shape.to_string());
    }
  }

  // Operands first: an output may take an operand's place.
  std::vector<Buf> reads;
  if (storages_.has_bytes()) {
    await_files(node);
    for (ValueId id : node.reads) reads.push_back(buf(id));
  }
  for (const auto& [read, write] : step.overwrites) {
    storages_.drop(tape_.buffer_storage[read]);
    tape_.history.push_back({Step::Kind::kDrop, read});
  }
  std::vector<bool> valid;
  for (ValueId id : node.outputs) valid.push_back(storages_[tape_.values[id].storage].resident());
  const scheduler::Placement* scratch_place = nullptr;
  std::byte* scratch = nullptr;
  for (const scheduler::Placement& place : step.places) {
    if (place.buffer == scheduler::kScratch) {
      scratch_place = &place;
      scratch = storages_.take_scratch(place.offset + shift, op.scratch, op.name, node.where);
    } else if (!storages_[tape_.buffer_storage[place.buffer]].resident()) {
      storages_.place(tape_.buffer_storage[place.buffer], place.offset + shift);
    }
  }
  account_.note_fixed(storages_.fixed_bytes());
  if (storages_.has_bytes() && node.kind == Node::Kind::kFile) {
    storages_.read(tape_.values[node.outputs.front()].storage, *node.source, node.where);
  } else if (storages_.has_bytes()) {
    std::vector<Buf> outputs;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      outputs.push_back(buf(node.outputs[i]));
      outputs.back().valid = valid[i];
    }
    running_ = op.name;
    try {
      run_kernel(node, reads, outputs, scratch);
      running_ = {};
    } catch (...) {
      running_ = {};
      if (scratch_place != nullptr) storages_.give_scratch(scratch_place->offset + shift);
      rethrow_at(op.name, node.where);
    }
  }
  if (scratch_place != nullptr) storages_.give_scratch(scratch_place->offset + shift);
  if (verify_ && storages_.has_bytes()) verify(node);
  tape_.history.push_back({Step::Kind::kRun, step.id});
  if (timeline_.on()) note_run(node, op, began);
  if (node.ran) {
    ++node.replays;
    account_.recomputed(std::chrono::duration<double>(Clock::now() - began).count(), node.seconds);
  }
  node.ran = true;
}

void Replay::run_kernel(const Node& node, std::span<const Buf> reads, std::span<const Buf> outputs,
                        std::byte* scratch) {
  switch (node.kind) {
    case Node::Kind::kForward: {
      Ctx ctx(machine_, node.prepared->state.get(), scratch, node.key, false);
      node.any_op->forward(ctx, reads, outputs);
      break;
    }
    case Node::Kind::kPart: {
      Ctx ctx(machine_, node.prepared->state.get(), scratch, node.key, node.accumulate);
      const std::size_t saved = node.prepared->parts[static_cast<std::size_t>(node.part)].saved.size();
      const Buf total = node.accumulate ? buf(node.updates.front()) : Buf();
      const std::span<const Buf> gx = node.accumulate ? std::span(&total, 1) : outputs;
      node.any_op->backward(ctx, node.part, reads.first(saved), reads.subspan(saved), gx);
      break;
    }
    case Node::Kind::kReorder:
      machine_.run_reorder(*node.kernel, *reads[0].meta, reads[0].data, *outputs[0].meta, outputs[0].data, scratch);
      break;
    case Node::Kind::kSum:
      if (compute::is_sparse_rows(outputs[0].meta->layout)) {
        compute::add_sparse_rows(*reads[0].meta, reads[0].data, *reads[1].meta, reads[1].data, *outputs[0].meta,
                                 outputs[0].data, machine_.threads());
        break;
      }
      add_floats(reads[0].as(), reads[1].as(), outputs[0].as(), outputs[0].meta->bytes / 4, machine_.threads());
      break;
    case Node::Kind::kAccumulate: {
      const Buf total = buf(node.updates.front());
      if (compute::is_sparse_rows(reads[0].meta->layout)) {
        compute::add_rows_to(*reads[0].meta, reads[0].data, total.as(), machine_.threads());
        break;
      }
      add_floats(total.as(), reads[0].as(), total.as(), total.numel(), machine_.threads());
      break;
    }
    case Node::Kind::kFill:
      std::fill_n(outputs[0].as(), outputs[0].meta->bytes / 4, node.fill);
      break;
    case Node::Kind::kNumber:
      std::copy(node.number.begin(), node.number.end(), outputs[0].as<std::byte>());
      break;
    case Node::Kind::kFile:
    case Node::Kind::kHold:
    case Node::Kind::kLeaf:
      break;
  }
}

void Replay::copy_out(const Meta& meta, const std::byte* from, void* to) {
  if (meta.layout.plain()) {
    std::memcpy(to, from, static_cast<std::size_t>(meta.bytes));
    return;
  }
  const Meta plain = Meta::plain(meta.shape, meta.dtype);
  const auto kernel = machine_.reorder(meta, plain);
  if (kernel->scratch > 0) throw std::logic_error("a reorder wants scratch outside of the tape");
  machine_.run_reorder(*kernel, meta, from, plain, to, nullptr);
}

void Replay::verify(const Node& node) {
  if (!node.updates.empty() || node.kind == Node::Kind::kLeaf) return;
  for (ValueId id : node.outputs) {
    const Value& value = tape_.values[id];
    Storage& storage = storages_[value.storage];
    const std::byte* bytes = storages_.data(value.storage) + value.offset;
    const std::int64_t plain = Meta::plain(value.meta.shape, value.meta.dtype).bytes;
    std::vector<std::byte> elements;
    if (value.meta.bytes != plain) {  // a padded layout: only elements count
      elements.resize(static_cast<std::size_t>(plain));
      copy_out(value.meta, bytes, elements.data());
      bytes = elements.data();
    }
    const std::uint64_t hash = XXH3_64bits(bytes, static_cast<std::size_t>(plain));
    if (storage.hashed && storage.hash != hash) {
      throw Error(absl::StrCat("verify_replay: ", tape_.graph.ops[node.op].name, " at ", to_string(node.where),
                               " gave other bits when it was computed again; a forward must be a pure function of its "
                               "inputs, attributes and ctx.rng()"));
    }
    storage.hash = hash;
    storage.hashed = true;
  }
}

}  // namespace tidemark::detail
