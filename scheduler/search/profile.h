// Memory over the events of a schedule: what lies there through each, and what each brings of its own. Kept in blocks,
// so that a change between two events touches the blocks between them and not each event: a block wholly below or
// wholly above the room is changed by one number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidemark::scheduler {

class Profile {
 public:
  using Key = std::uint64_t;
  struct Position {
    std::size_t block = 0;
    std::size_t index = 0;
    bool operator==(const Position&) const = default;
  };

  void clear(double room);
  // The key must be the largest so far.
  void append(Key k, double through, double own);
  void insert(Key k, double through);  // with nothing of its own yet
  void erase(Key k);
  void add_after(Key from, Key to, double bytes);  // to the events in (from, to]
  void set_own(Key k, double own);
  // What overflow() would change by with `bytes` more, or fewer, at the events in (from, to], if the room were larger
  // by `credit` before and after.
  double overflow_change(Key from, Key to, double bytes, double credit) const;
  void set_room(double room);

  double room() const { return room_; }
  double overflow() const { return overflow_; }
  double peak() const;
  std::size_t size() const { return size_; }
  bool contains(Key k) const;
  double through(Key k) const;

  Position position(Key k) const;  // of the first event that is not before k
  Position begin() const { return {}; }
  bool end(Position p) const { return p.block >= blocks_.size(); }
  Position next(Position p) const;
  Key key(Position p) const { return blocks_[p.block].keys[p.index]; }
  // A random event for random bits; each is as likely as the size of its block is usual.
  Position any(std::uint64_t bits) const;
  // From p on, and round to the beginning, the first event above the room; end where there is none.
  Position above_room(Position p) const;

  std::int64_t work() const { return work_; }  // events touched

 private:
  static constexpr std::size_t kMostEvents = 96;

  struct Block {
    std::vector<Key> keys;
    std::vector<double> memory;  // through and own, less `lift`
    std::vector<double> own;
    double lift = 0;
    double most = 0;
    double least = 0;
    double overflow = 0;
  };

  struct Range {
    std::size_t begin;
    std::size_t end;
  };

  std::size_t block_of(Key k) const;  // the last block that begins at or before k
  Range range(std::size_t b, std::size_t first, std::size_t last, Key from, Key to) const;
  void change(Block& block, std::size_t first, std::size_t last, double bytes);
  void refresh(Block& block);
  void split(std::size_t b);

  double room_ = 0;
  double overflow_ = 0;
  std::size_t size_ = 0;
  std::vector<Block> blocks_;
  std::vector<Key> first_;  // key of each block
  mutable std::int64_t work_ = 0;
};

}  // namespace tidemark::scheduler
