// Lifetimes are the program's, never the budget's: what a handle or a backward pass to come can reach lives, all else
// ends. This class counts, and keeps the handles; it runs and records nothing. Storages that nobody needs any more go
// on a list, which the engine empties between calls.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/handle.h"
#include "autograd/storages.h"
#include "autograd/tape.h"

namespace tidemark::detail {

class Lifetimes {
 public:
  Lifetimes(Engine* engine, Tape& tape, Storages& storages) : engine_(engine), tape_(tape), storages_(storages) {}
  ~Lifetimes();
  Lifetimes(const Lifetimes&) = delete;
  Lifetimes& operator=(const Lifetimes&) = delete;

  std::uint32_t generation() const { return generation_; }
  bool computed(const Handle* handle) const { return handle->computed(generation_); }
  StorageId storage_of(const Handle* handle) const;

  // --- handles
  Handle* new_leaf(const Meta& meta, StorageId storage, SourceLocation where);
  Handle* new_view(ValueId value, const Meta& meta, SourceLocation where);
  // A leaf whose elements are not in memory.
  Handle* new_sourced(const Meta& meta, LeafSource* source, SourceLocation where);
  // Another handle on a stored value, a number or what is read from a file, without its gradient.
  Handle* copy_of(const Handle* handle, SourceLocation where);
  // The program's handle on a value of the tape, made where there is none.
  Handle* handle_for(ValueId value);
  void release(Handle* handle);  // one reference less
  void died(Handle* handle);     // no reference is left
  // A number, or what had no elements, that has to lie in memory: its bytes are in `storage` from now on.
  void store(Handle* handle, StorageId storage);
  // What lay in memory is read from a file from now on.
  void unstore(Handle* handle, LeafSource* source);
  // Called with what the program holds and the tape of this step computes, the newest first.
  template <class Call>
  void for_each_computed(Call&& call) const {
    for (Handle* handle = computed_; handle != nullptr; handle = handle->next) call(handle);
  }

  // --- counts
  void add_use(NodeId node) { ++tape_.nodes[node].uses; }
  void drop_use(NodeId node);
  void add_read(StorageId storage) { ++storages_[storage].reads; }
  void drop_read(StorageId storage);
  // A backward pass went through the node.
  void retire(Node& node);
  // Nobody needs these: each once, in the order in which they ended.
  std::vector<StorageId> take_ended();
  bool any_ended() const { return !ended_.empty(); }
  void check_ended(StorageId storage);

  // --- values that outlive what they were computed from
  // Ahead of the hold op: the bytes cannot be given up from here on.
  std::vector<StorageId> begin_settling(std::span<Handle* const> handles);
  // After it: the handles read bytes, and no longer the tape.
  void settle(std::span<Handle* const> handles, const Reason* no_graph);
  void expire(Handle* handle, const Reason* reason);
  // By node: whether a backward pass can still go through it, but for the one that goes through `going`.
  std::vector<bool> waiting_nodes(const std::vector<bool>& going = {}) const;

  // --- the end of a step
  // Handles of at most kNumberBytes take their elements out of the arena. `read` copies them out as plain ones.
  template <class Read>
  void make_numbers(Read&& read) {
    for (Handle* handle = stored_; handle != nullptr;) {
      Handle* next = handle->next;
      if (becomes_number(handle)) take_number(handle, read(handle));
      handle = next;
    }
  }
  // Values of the tape can no longer be read through it. Returns leaves that the tape held, to be released.
  std::vector<Handle*> end_generation();
  // What the present tape computes can no longer be read.
  void lose_computed(const Reason* reason);

 private:
  Handle* new_handle(const Meta& meta, SourceLocation where, Handle** list);
  void join(Handle* handle, Handle** list);
  void leave(Handle* handle);
  void erase(Handle* handle);
  bool becomes_number(const Handle* handle) const;
  void take_number(Handle* handle, std::unique_ptr<std::byte[]> elements);

  Engine* engine_;
  Tape& tape_;
  Storages& storages_;
  std::uint32_t generation_ = 1;
  Handle* computed_ = nullptr;  // read through the tape
  Handle* stored_ = nullptr;    // read from a storage
  Handle* others_ = nullptr;    // numbers, and what is lost
  std::vector<StorageId> ended_;
};

// Values of at most this many bytes leave the arena when their step ends, and are numbers in their handles.
inline constexpr std::int64_t kNumberBytes = 256;

}  // namespace tidemark::detail
