#include "report/peers.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "report/embedded.h"
#include "tidemark/error.h"

namespace tidemark::report {
namespace {

constexpr std::array<const char*, 3> kModes = {"none", "block", "sqrt"};

// The script as a file of its own, gone with this.
class Script {
 public:
  Script() {
    std::string name = (std::filesystem::temp_directory_path() / "tidemark-peer-XXXXXX").string();
    const int descriptor = mkstemp(name.data());
    if (descriptor < 0) throw Error("a temporary file cannot be made in " + name);
    path_ = name;
    const bool whole = ::write(descriptor, kTorchPeer.data(), kTorchPeer.size()) == std::ssize(kTorchPeer);
    close(descriptor);
    if (!whole) throw Error("a temporary file cannot be written: " + path_);
  }
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;
  ~Script() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

// The number that it prints; nothing where it fails, and then `why` is the last line of what it said.
std::optional<double> number_of(const std::string& command, std::string& why) {
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) {
    why = "no process can be started";
    return std::nullopt;
  }
  std::string last;
  char line[4096];
  while (std::fgets(line, sizeof line, pipe) != nullptr) last = line;
  const int status = pclose(pipe);
  while (!last.empty() && last.back() == '\n') last.pop_back();
  char* end = nullptr;
  const double number = std::strtod(last.c_str(), &end);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && end != last.c_str() && *end == '\0') return number;
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
  const Script script;
  // Debian's python, which python3-torch belongs to.
  std::string command = "/usr/bin/python3 " + quoted(script.path()) + " --checkpoint " + kModes.at(which);
  for (const std::string& word : options) command += " " + quoted(word);
  if (peer.peak_bytes == 0) {
    const auto bytes = number_of(command + " --memory", peer.refused);
    if (!bytes) return;
    peer.peak_bytes = static_cast<std::int64_t>(*bytes);
  }
  if (const auto seconds = number_of(command, peer.refused)) peer.seconds.push_back(*seconds);
}

}  // namespace tidemark::report
