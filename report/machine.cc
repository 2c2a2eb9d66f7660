#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>

#include "tidemark/page.h"
#include "tidemark/units.h"
#include "tidemark/version.h"

namespace tidemark {
namespace {

std::string first_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "unknown";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> describe_machine() {
  utsname system{};
  uname(&system);
  char date[64] = "";
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  if (gmtime_r(&now, &parts) != nullptr) std::strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &parts);
  const std::int64_t pages = sysconf(_SC_PHYS_PAGES);
  return {{"processor", first_value("/proc/cpuinfo", "model name")},
          {"processors", std::to_string(sysconf(_SC_NPROCESSORS_ONLN))},
          {"memory", format_bytes(pages * sysconf(_SC_PAGESIZE))},
          {"system", std::string(system.sysname) + " " + system.release + " " + system.machine},
          {"compiler", "GCC-compatible " __VERSION__},
          {"tidemark", TIDEMARK_VERSION},
          {"date", date}};
}

}  // namespace tidemark
