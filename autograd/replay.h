// Replay: steps to kernels. An op that runs again is given the same operands, and so gives the same bits; verify_replay
// checks that it does.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/account.h"
#include "autograd/storages.h"
#include "autograd/tape.h"
#include "autograd/timeline_recorder.h"
#include "compute/machine.h"
#include "tidemark/scheduler.h"

namespace tidemark::detail {

class Replay {
 public:
  Replay(Tape& tape, Storages& storages, compute::Machine& machine, Account& account, TimelineRecorder& timeline,
         bool verify)
      : tape_(tape), storages_(storages), machine_(machine), account_(account), timeline_(timeline), verify_(verify) {}

  // The storage of a buffer that is not on the tape yet; kNone: it is gone.
  using Unread = std::function<StorageId(BufferId)>;

  // Carries the steps out. Throws what a kernel throws, with the op and the user's line.
  void run(std::span<const scheduler::Step> steps, std::int64_t shift, const Unread& unread);
  // The op whose kernel runs just now, or nothing.
  std::string_view running() const { return running_; }
  // Elements of a value, row-major, wherever it lies and in whatever layout.
  void copy_out(const Meta& meta, const std::byte* from, void* to);

 private:
  StorageId storage_of(BufferId buffer, const Unread& unread) const;
  void run_op(const scheduler::Step& step, std::int64_t shift);
  void await_files(const Node& node);
  void run_kernel(const Node& node, std::span<const Buf> reads, std::span<const Buf> outputs, std::byte* scratch);
  void verify(const Node& node);
  void move(const scheduler::Step& step, std::int64_t shift, StorageId storage);
  void note_run(const Node& node, const scheduler::Op& op, TimelineRecorder::Clock::time_point began);
  Buf buf(ValueId value);

  Tape& tape_;
  Storages& storages_;
  compute::Machine& machine_;
  Account& account_;
  TimelineRecorder& timeline_;
  bool verify_;
  std::string_view running_;
};

}  // namespace tidemark::detail
