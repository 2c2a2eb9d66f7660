#include "autograd/storages.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/extents.h"

namespace tidemark::detail {

using core::Extents;

namespace {

constexpr std::int64_t kScratchKey = -1;  // of the timeline; sequence numbers of storages start at 0

}  // namespace

Storages::Storages(std::optional<std::int64_t> budget, bool dry_run, int threads, TimelineRecorder& timeline)
    : dry_run_(dry_run),
      reader_(threads),
      timeline_(timeline),
      arena_(dry_run ? memory::Arena::without_memory(budget) : memory::Arena(budget)) {}

Storages::~Storages() {
  for (const Storage& storage : storages_) {
    if (storage.read != nullptr) storage.read->stop();
  }
}

StorageId Storages::create(std::int64_t bytes, Category category, Origin origin) {
  StorageId id;
  if (free_.empty()) {
    id = static_cast<StorageId>(storages_.size());
    storages_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Storage storage;
  storage.bytes = std::max<std::int64_t>(bytes, 1);  // an empty value still has a place
  storage.category = category;
  storage.origin = origin;
  storage.sequence = next_sequence_++;
  (*this)[id] = std::move(storage);
  return id;
}

void Storages::tell_placed(const Storage& storage) {
  if (!timeline_.on()) return;
  timeline_.placed(storage.sequence, storage.name, storage.where, Extents::round_up(storage.bytes), storage.category,
                   arena_.extents().end());
}

void Storages::tell_dropped(const Storage& storage) {
  if (timeline_.on()) timeline_.dropped(storage.sequence, arena_.extents().end());
}

void Storages::tell_all() {
  for (StorageId id : by_offset()) tell_placed((*this)[id]);
}

void Storages::destroy(StorageId id) {
  drop(id);
  timeline_.forget((*this)[id].sequence);
  pauses_.erase(id);
  (*this)[id] = Storage{};
  free_.push_back(id);
}

std::byte* Storages::data(StorageId id) const {
  if (!(*this)[id].resident()) throw std::logic_error("a kernel reads a discarded value");
  if ((*this)[id].read != nullptr) reader_.finish(*(*this)[id].read);
  return arena_.at((*this)[id].offset);
}

void Storages::read(StorageId id, const LeafSource& source, SourceLocation where) {
  Storage& storage = (*this)[id];
  if (storage.read != nullptr) storage.read->stop();
  storage.read = std::make_shared<FileRead>(source, arena_.at(storage.offset), where);
  reader_.add(storage.read);
}

bool Storages::settle(const Storage& storage) const {
  if (storage.read == nullptr) return true;
  try {
    reader_.finish(*storage.read);
  } catch (const std::exception&) {
    return false;  // data() throws it
  }
  return true;
}

bool Storages::came_whole(StorageId id) const { return settle((*this)[id]); }

void Storages::place(StorageId id, std::int64_t offset) {
  Storage& storage = (*this)[id];
  arena_.place(pinned_end_ + offset, storage.bytes, id, storage.category);
  storage.offset = pinned_end_ + offset;
  tell_placed(storage);
}

void Storages::move(StorageId id, std::int64_t offset) {
  Storage& storage = (*this)[id];
  offset += pinned_end_;
  if (!storage.resident() || storage.offset == offset) return;
  settle(storage);
  arena_.move(storage.offset, offset);
  storage.offset = offset;
}

void Storages::drop(StorageId id) {
  Storage& storage = (*this)[id];
  if (!storage.resident()) return;
  if (storage.read != nullptr) storage.read->stop();
  storage.read.reset();
  arena_.release(storage.offset);
  storage.offset = kNone;
  tell_dropped(storage);
}

std::byte* Storages::take_scratch(std::int64_t offset, std::int64_t bytes, std::string_view op, SourceLocation where) {
  arena_.place(pinned_end_ + offset, bytes, kNone, Category::kScratch);
  timeline_.placed(kScratchKey, op, where, Extents::round_up(bytes), Category::kScratch, arena_.extents().end());
  return dry_run_ ? nullptr : arena_.at(pinned_end_ + offset);
}

void Storages::give_scratch(std::int64_t offset) {
  arena_.release(pinned_end_ + offset);
  timeline_.dropped(kScratchKey, arena_.extents().end());
  timeline_.forget(kScratchKey);
}

std::vector<StorageId> Storages::by_offset() const {
  std::vector<StorageId> ids;
  for (const auto& [offset, block] : arena_.extents().blocks()) ids.push_back(block.owner);
  return ids;
}

void Storages::relocate(std::span<const Target> targets) {
  using Clock = TimelineRecorder::Clock;
  const auto began = timeline_.on() ? Clock::now() : Clock::time_point();
  std::vector<memory::Arena::Relocation> relocations;
  std::int64_t bytes = 0;
  for (const Target& target : targets) {
    if ((*this)[target.id].offset == target.offset) continue;
    bytes += (*this)[target.id].bytes;
    settle((*this)[target.id]);
    if (const auto pause = pauses_.find(target.id); pause != pauses_.end()) pause->second();
    relocations.push_back({(*this)[target.id].offset, target.offset});
  }
  arena_.relocate(relocations);
  for (const Target& target : targets) (*this)[target.id].offset = target.offset;
  if (timeline_.on() && bytes > 0)
    timeline_.span(Timeline::Track::kMove, "what lies between steps", {}, began, bytes, 0);
}

void Storages::arrange(std::span<const Target> targets) {
  std::vector<Target> absolute(targets.begin(), targets.end());
  for (Target& target : absolute) target.offset += pinned_end_;
  relocate(absolute);
}

std::int64_t Storages::pack_pinned() {
  const std::vector<StorageId> ids = by_offset();
  std::int64_t end = 0;
  bool packed = true;
  for (StorageId id : ids) {
    if (!(*this)[id].pinned()) continue;
    packed = packed && (*this)[id].offset == end;
    end += Extents::round_up((*this)[id].bytes);
  }
  if (!packed) {
    std::vector<Target> targets;
    std::int64_t at = 0;
    for (const bool pinned : {true, false}) {
      for (StorageId id : ids) {
        if ((*this)[id].pinned() != pinned) continue;
        targets.push_back({id, at});
        at += Extents::round_up((*this)[id].bytes);
      }
    }
    relocate(targets);
  }
  pinned_end_ = end;
  return arena_.extents().limit() - end;
}

std::vector<StorageId> Storages::carried() const {
  std::vector<StorageId> ids;
  for (StorageId id : by_offset()) {
    if ((*this)[id].origin == Origin::kCarried) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(),
            [&](StorageId a, StorageId b) { return (*this)[a].sequence < (*this)[b].sequence; });
  return ids;
}

bool Storages::place_anywhere(StorageId id) {
  Storage& storage = (*this)[id];
  auto offset = arena_.extents().best_fit(Extents::round_up(storage.bytes));
  if (!offset) {
    if (arena_.extents().free_bytes() < Extents::round_up(storage.bytes)) return false;
    std::vector<Target> targets;
    std::int64_t end = 0;
    for (StorageId each : by_offset()) {
      targets.push_back({each, end});
      end += Extents::round_up((*this)[each].bytes);
    }
    relocate(targets);
    offset = end;
  }
  arena_.place(*offset, storage.bytes, id, storage.category);
  storage.offset = *offset;
  tell_placed(storage);
  return true;
}

void Storages::exchange(StorageId a, StorageId b) {
  const std::int64_t at_a = (*this)[a].offset;
  const std::int64_t at_b = (*this)[b].offset;
  arena_.release(at_a);
  arena_.release(at_b);
  arena_.place(at_b, (*this)[a].bytes, a, (*this)[a].category);
  arena_.place(at_a, (*this)[b].bytes, b, (*this)[b].category);
  (*this)[a].offset = at_b;
  (*this)[b].offset = at_a;
}

std::int64_t Storages::fixed_bytes() const {
  const memory::Ledger& ledger = arena_.ledger();
  return ledger.live(Category::kParameters) + ledger.live(Category::kGradients) + ledger.live(Category::kOptimizer) +
         ledger.live(Category::kBatch);
}

void Storages::set_category(StorageId id, Category category) {
  Storage& storage = (*this)[id];
  storage.category = category;
  if (!storage.resident()) return;
  arena_.release(storage.offset);  // the same bytes, under another heading
  tell_dropped(storage);
  arena_.place(storage.offset, storage.bytes, id, category);
  tell_placed(storage);
}

void Storages::end_step(bool planned) {
  if (planned && !pages_given_back_ && !arena_.budget()) {
    arena_.give_pages_back(arena_.step_reserved_peak());
    pages_given_back_ = true;
  }
  arena_.reset_step_peak();
}

void Storages::set_pause(StorageId id, std::function<void()> pause) {
  if (pause) pauses_[id] = std::move(pause);
}

}  // namespace tidemark::detail
