// How fast weights are loaded, beside what the system takes to read the same file: 500 MB that the page cache has.
//   load_bench [FOLDER]     where the file is written for the time of the run [/tmp]
//
//   existing   into parameters that are there, over `cat FILE >/dev/null`
//   fresh      into a new session's (made under DeferredInit), over reads of the same bytes into fresh memory
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/tidemark.h"

namespace td = tidemark;

namespace {

constexpr int kRounds = 7;
constexpr std::int64_t kWidth = 2048;
constexpr int kLayers = 30;  // of 16 MiB each

// A stack of matrices, as weights of transformers are.
td::nn::Sequential make_net() {
  td::nn::Sequential net;
  for (int i = 0; i < kLayers; ++i) net.add(td::nn::Linear({.in = kWidth, .out = kWidth}));
  return net;
}

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double median(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// By pread, 1 MiB at a time, into memory that nobody has touched; huge pages where the system has them, as an arena's.
void read_into_fresh_memory(const std::string& file, std::int64_t bytes) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  void* memory =
      ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ::madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  constexpr std::int64_t kPart = std::int64_t{1} << 20;
  for (std::int64_t at = 0; at < bytes;) {
    const ssize_t got =
        ::pread(descriptor, static_cast<char*>(memory) + at, static_cast<std::size_t>(std::min(kPart, bytes - at)), at);
    if (got <= 0) break;
    at += got;
  }
  ::munmap(memory, static_cast<std::size_t>(bytes));
  ::close(descriptor);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "/tmp";
  std::printf("%-5s %9s %10s %9s %7s %10s %9s %7s\n", "type", "file MB", "existing s", "cat s", "ratio", "fresh s",
              "pread s", "ratio");
  for (const td::StoredType type : {td::StoredType::kF32, td::StoredType::kF16, td::StoredType::kBF16}) {
    const std::string file = folder + "/tidemark-load-bench-" + std::to_string(::getpid()) + ".safetensors";
    std::vector<double> existing, cat, fresh, plain;
    double megabytes = 0;
    {
      td::Session session;
      td::nn::Sequential net = make_net();
      td::save(net, file, {.type = type});
      std::int64_t bytes = 0;
      for (const td::FileTensor& tensor : td::TensorFile(file).tensors()) bytes += tensor.bytes;
      megabytes = static_cast<double>(bytes) / 1e6;
      const std::string command = "cat '" + file + "' >/dev/null";
      for (int round = 0; round < kRounds; ++round) {
        cat.push_back(seconds_of([&] {
          if (std::system(command.c_str()) != 0) std::exit(1);
        }));
        existing.push_back(seconds_of([&] { td::load(net, file); }));
      }
    }
    const auto bytes = static_cast<std::int64_t>(megabytes * 1e6);
    for (int round = 0; round < kRounds; ++round) {
      plain.push_back(seconds_of([&] { read_into_fresh_memory(file, bytes); }));
      td::Session session;
      std::optional<td::nn::Sequential> net;
      {
        const td::DeferredInit deferred;
        net.emplace(make_net());
      }
      fresh.push_back(seconds_of([&] { td::load(*net, file); }));
    }
    ::unlink(file.c_str());
    std::printf("%-5s %9.1f %10.3f %9.3f %7.2f %10.3f %9.3f %7.2f\n", to_string(type), megabytes, median(existing),
                median(cat), median(existing) / median(cat), median(fresh), median(plain),
                median(fresh) / median(plain));
  }
}
