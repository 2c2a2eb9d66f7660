#include "autograd/file_reads.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "autograd/leaf_source.h"
#include "compute/threads.h"

namespace tidemark::detail {
namespace {

constexpr std::int64_t kPart = std::int64_t{1} << 19;
// Kernels need the processors more; a read waits for a disk most of the time.
constexpr int kNice = 10;

}  // namespace

FileRead::FileRead(const LeafSource& source, std::byte* to, SourceLocation where)
    : read_(source.read),
      name_(source.name),
      where_(where),
      bytes_(source.meta.bytes),
      parts_(source.in_parts ? (source.meta.bytes + kPart - 1) / kPart : 1),
      to_(to) {}

bool FileRead::read_part() {
  std::int64_t part = 0;
  {
    const std::lock_guard lock(mutex_);
    if (next_ >= parts_) return false;
    part = next_++;
    ++under_way_;
  }
  const std::int64_t first = parts_ > 1 ? part * kPart : 0;
  const std::int64_t count = parts_ > 1 ? std::min(kPart, bytes_ - first) : bytes_;
  std::exception_ptr error;
  try {
    read_(first, count, to_ + first);
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  --under_way_;
  if (error != nullptr) {
    next_ = parts_;
    if (error_ == nullptr) error_ = error;
  }
  changed_.notify_all();
  return true;
}

void FileRead::wait_for_others(std::unique_lock<std::mutex>& lock) {
  if (getpid() != process_) return;  // the thread that reads is in the other process
  changed_.wait(lock, [&] { return under_way_ == 0; });
}

void FileRead::wait() {
  std::unique_lock lock(mutex_);
  wait_for_others(lock);
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void FileRead::stop() noexcept {
  std::unique_lock lock(mutex_);
  next_ = parts_;
  wait_for_others(lock);
}

bool FileRead::done() const {
  const std::lock_guard lock(mutex_);
  return next_ >= parts_ && under_way_ == 0;
}

FileReader::~FileReader() {
  if (!thread_.joinable()) return;
  if (getpid() != process_) {
    thread_.detach();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    for (const std::shared_ptr<FileRead>& read : reads_) read->stop();
  }
  changed_.notify_all();
  thread_.join();
}

void FileReader::add(std::shared_ptr<FileRead> read) {
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) {
      return;  // who wants it reads it
    }
  }
  {
    const std::lock_guard lock(mutex_);
    reads_.push_back(std::move(read));
  }
  changed_.notify_all();
}

void FileReader::finish(FileRead& read) const {
  if (!read.done()) {
    if (read.in_parts() && threads_ > 1) {
#pragma omp parallel num_threads(threads_)
      while (read.read_part()) {
      }
    } else {
      while (read.read_part()) {
      }
    }
  }
  read.wait();
}

void FileReader::run() {
  compute::unbind_current_thread();
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ends_ || !reads_.empty(); });
    if (ends_) return;
    const std::shared_ptr<FileRead> read = std::move(reads_.front());
    reads_.pop_front();
    lock.unlock();
    while (read->read_part()) {
    }
    lock.lock();
  }
}

}  // namespace tidemark::detail
