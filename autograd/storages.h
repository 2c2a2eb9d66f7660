// Storages: the bytes of a session, and the only owner of its arena. Nothing else places, drops or moves bytes; the
// arena checks every change, so a wrong decision is an exception and never a byte over the budget.
//
// The arena has three zones, from its low end:
//
//   pinned   parameters, optimizer state, loaders' slots: they stay where they are while a step runs
//   carried  what the program holds from earlier steps and the present step does not read
//   room     what the step uses: its results, and the carried values that it reads
//
// Zones change only between steps. Offsets that steps name are counted from the end of the pinned zone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "autograd/file_reads.h"
#include "autograd/timeline_recorder.h"
#include "memory/arena.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"

namespace tidemark::detail {

using StorageId = std::int32_t;
using scheduler::BufferId;
using scheduler::OpId;
inline constexpr std::int32_t kNone = -1;

// Where bytes come from, which says whether they can be produced again and when they may be moved.
enum class Origin : std::uint8_t {
  kComputed,  // an op of the tape: they can be discarded and computed again
  kCarried,   // the program, or an earlier step: they cannot be produced again
  kPinned,    // as kCarried, and not moved while a step runs
  kFilled,    // as kPinned, and a loader's thread may be writing: it is paused before they move
};

struct Storage {
  std::int64_t bytes = 0;
  std::int64_t offset = kNone;  // in the arena; kNone: discarded
  Category category = Category::kActivations;
  Origin origin = Origin::kComputed;
  bool ending = false;  // on the list of what nobody needs any more
  bool hashed = false;
  BufferId buffer = kNone;         // in the tape's graph
  int handles = 0;                 // living handles on values of it
  int reads = 0;                   // reads to come: saved for backward, or by recorded ops that have not run
  std::uint64_t hash = 0;          // of its first content, under verify_replay
  std::uint64_t key = 0;           // of what made it, to know it again in the next step
  std::int64_t sequence = 0;       // order of creation
  std::shared_ptr<FileRead> read;  // that fills the bytes; nothing where none was begun
  std::string name;                // of leaves
  SourceLocation where;

  bool reproducible() const { return origin == Origin::kComputed; }
  bool pinned() const { return origin >= Origin::kPinned; }
  bool resident() const { return offset != kNone; }
};

class Storages {
 public:
  // A dry run accounts for bytes and has none.
  Storages(std::optional<std::int64_t> budget, bool dry_run, int threads, TimelineRecorder& timeline);
  ~Storages();
  Storages(const Storages&) = delete;
  Storages& operator=(const Storages&) = delete;
  // Tells the timeline, which has just been started, what is in memory.
  void tell_all();

  StorageId create(std::int64_t bytes, Category category, Origin origin);
  // Drops the bytes and forgets the storage; its id is used again.
  void destroy(StorageId id);
  Storage& operator[](StorageId id) { return storages_[static_cast<std::size_t>(id)]; }
  const Storage& operator[](StorageId id) const { return storages_[static_cast<std::size_t>(id)]; }
  // Destroyed ones among them have 0 bytes.
  const std::vector<Storage>& all() const { return storages_; }

  // Waits where they are still being read from a file, and throws what that throws. Throws std::logic_error where the
  // bytes are discarded, or the session is a dry run.
  std::byte* data(StorageId id) const;
  // The bytes, which have a place, come from a file while other ops run.
  void read(StorageId id, const LeafSource& source, SourceLocation where);
  // They are not all there yet.
  bool being_read(StorageId id) const { return (*this)[id].read != nullptr && !(*this)[id].read->done(); }
  // Waits until they are; false where reading them failed, so that they are worth nothing.
  bool came_whole(StorageId id) const;

  // While a step runs; offsets are counted from the end of the pinned zone.
  void place(StorageId id, std::int64_t offset);
  void move(StorageId id, std::int64_t offset);
  void drop(StorageId id);
  // One at a time; the op is named for the timeline.
  std::byte* take_scratch(std::int64_t offset, std::int64_t bytes, std::string_view op, SourceLocation where);
  void give_scratch(std::int64_t offset);

  // Between steps.
  // Finds a place, bringing holes together where that is needed; false where there is none.
  bool place_anywhere(StorageId id);
  // The two storages, of equal bytes, take each other's place.
  void exchange(StorageId a, StorageId b);
  void set_category(StorageId id, Category category);
  // Called before the bytes of a kFilled storage are moved.
  void set_pause(StorageId id, std::function<void()> pause);
  // Brings what is pinned together at the low end, and returns the bytes of the room and the carried zone.
  std::int64_t pack_pinned();
  // What is carried and resident, the oldest first.
  std::vector<StorageId> carried() const;
  struct Target {
    StorageId id;
    std::int64_t offset;  // counted from the end of the pinned zone
  };
  // Moves all of these at once, in place: no second copy is made.
  void arrange(std::span<const Target> targets);

  // Of parameters, gradients, optimizer state and batches.
  std::int64_t fixed_bytes() const;
  std::int64_t room_offset(StorageId id) const { return (*this)[id].offset - pinned_end_; }
  std::int64_t pinned_end() const { return pinned_end_; }
  bool has_bytes() const { return !dry_run_; }
  const memory::Arena& arena() const { return arena_; }
  // Peaks of steps begin again. Without a budget the pages that only the first steps needed, before one was planned, go
  // back to the system, once.
  void end_step(bool planned);

 private:
  // Everything resident, by offset.
  std::vector<StorageId> by_offset() const;
  void relocate(std::span<const Target> targets);  // offsets from the arena's start
  void tell_placed(const Storage& storage);
  void tell_dropped(const Storage& storage);
  // Nothing writes to the bytes any more; true where all of them are there.
  bool settle(const Storage& storage) const;

  bool dry_run_;
  FileReader reader_;
  TimelineRecorder& timeline_;
  memory::Arena arena_;
  std::vector<Storage> storages_;
  std::vector<StorageId> free_;
  std::int64_t next_sequence_ = 0;
  std::int64_t pinned_end_ = 0;
  bool pages_given_back_ = false;
  std::unordered_map<StorageId, std::function<void()>> pauses_;
};

}  // namespace tidemark::detail
