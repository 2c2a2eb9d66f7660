// Elements of leaves on their way from files into memory, while other ops run.
#pragma once

#include <unistd.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "tidemark/error.h"

namespace tidemark::detail {

struct LeafSource;

// One leaf's elements. Several threads may read parts of them at once.
class FileRead {
 public:
  // `to` takes all bytes of the leaf, and stays where it is until the read is done or was stopped.
  FileRead(const LeafSource& source, std::byte* to, SourceLocation where);

  // Reads a part that nobody has begun; false where there is none.
  bool read_part();
  // Waits for parts that others have begun, and throws what one of them threw.
  void wait();
  // No part is begun from now on. Waits for those that are under way.
  void stop() noexcept;
  bool done() const;

  bool in_parts() const { return parts_ > 1; }
  const std::string& name() const { return name_; }
  SourceLocation where() const { return where_; }

 private:
  void wait_for_others(std::unique_lock<std::mutex>& lock);

  const std::function<void(std::int64_t first, std::int64_t count, std::byte* to)> read_;
  const std::string name_;
  const SourceLocation where_;
  const std::int64_t bytes_;
  const std::int64_t parts_;
  std::byte* const to_;
  const pid_t process_ = getpid();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t next_ = 0;       // the first part that nobody has begun
  std::int64_t under_way_ = 0;  // how many parts are read just now
  std::exception_ptr error_;
};

// The thread that reads. Who waits for a read helps with it, so that it comes in time where the processors are busy.
class FileReader {
 public:
  // `threads`: of the team that helps.
  explicit FileReader(int threads) : threads_(threads) {}
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  // One after the other, in this order.
  void add(std::shared_ptr<FileRead> read);
  // Reads what nobody has begun and waits for the rest. Throws what reading threw.
  void finish(FileRead& read) const;

 private:
  void run();

  const int threads_;
  const pid_t process_ = getpid();
  std::thread thread_;  // from the first read on; none where the system has no thread for it
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<FileRead>> reads_;
  bool ends_ = false;
};

}  // namespace tidemark::detail
