#include "report/peers.h"

#include <array>
#include <cstdlib>
#include <optional>

#include "report/embedded.h"
#include "report/script.h"

namespace tidemark::report {
namespace {

constexpr std::array<const char*, 3> kModes = {"none", "block", "sqrt"};

// The number that the script prints last; nothing where it fails, and then `why` is the last line of what it said.
std::optional<double> number_of(const std::vector<std::string>& words, std::string& why) {
  // Debian's python, which python3-torch belongs to.
  const ScriptEnd end = run_script("/usr/bin/python3", kTorchPeer, words, Errors::kTaken);
  std::string last = end.output;
  while (!last.empty() && last.back() == '\n') last.pop_back();
  last.erase(0, last.rfind('\n') + 1);
  char* rest = nullptr;
  const double number = std::strtod(last.c_str(), &rest);
  if (end.code == 0 && rest != last.c_str() && *rest == '\0') return number;
  why = last.empty() ? "it ended without a word" : last;
  return std::nullopt;
}

}  // namespace

std::vector<SweepPeer> peers() {
  const std::string settings =
      "malloc keeps blocks up to 4 GiB (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_) while seconds are measured, "
      "and "
      "gives those from 64 KiB back at once while bytes are; OMP_PROC_BIND=close";
  return {{.name = "PyTorch", .settings = settings},
          {.name = "PyTorch, checkpointed by block", .settings = settings},
          {.name = "PyTorch, checkpointed by sqrt(n)", .settings = settings}};
}

void measure_peer(std::size_t which, const std::vector<std::string>& options, SweepPeer& peer) {
  std::vector<std::string> words = {"--checkpoint", kModes.at(which)};
  words.insert(words.end(), options.begin(), options.end());
  if (peer.peak_bytes == 0) {
    words.push_back("--memory");
    const auto bytes = number_of(words, peer.refused);
    if (!bytes) return;
    peer.peak_bytes = static_cast<std::int64_t>(*bytes);
    words.pop_back();
  }
  if (const auto seconds = number_of(words, peer.refused)) peer.seconds.push_back(*seconds);
}

}  // namespace tidemark::report
