// Who may include whom: reads every #include of the tree and fails on one that the folders' order forbids. And what
// every public header says about itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark::test {
namespace {

namespace fs = std::filesystem;

// What a folder may include besides its own files and the standard library. An entry that ends with '/' is a folder;
// "tidemark/" is the public interface.
struct Rule {
  std::vector<std::string> headers;   // of this project
  std::vector<std::string> packages;  // of others
};

// The public headers that stand on nothing but each other.
const std::vector<std::string> kGround = {"tidemark/error.h", "tidemark/units.h", "tidemark/shape.h", "tidemark/meta.h",
                                          "tidemark/version.h"};

// What the four wings of the scheduler stand on; the planner, beside it, sees all of them.
const std::vector<std::string> kSchedulerGround = {
    "tidemark/scheduler.h", "tidemark/units.h",     "tidemark/error.h",       "core/",
    "scheduler/program.h",  "scheduler/simulate.h", "scheduler/fine_units.h",
};

std::vector<std::string> with(std::vector<std::string> list, const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

const std::map<std::string, Rule>& rules() {
  static const std::map<std::string, Rule> kRules = {
      {"include/tidemark", {{"tidemark/"}, {}}},
      {"cmake", {{}, {}}},
      {"core", {kGround, {"absl/"}}},
      {"memory", {with(kGround, {"core/"}), {"absl/"}}},
      {"compute", {with(kGround, {"tidemark/rng.h", "core/"}), {"absl/", "hwy/"}}},
      {"scheduler", {with(kGround, {"tidemark/scheduler.h", "core/"}), {"absl/", "nlohmann/"}}},
      {"scheduler/bound", {kSchedulerGround, {}}},
      {"scheduler/search", {with(kSchedulerGround, {"scheduler/bound/"}), {}}},
      {"scheduler/place", {with(kSchedulerGround, {"scheduler/search/"}), {}}},
      {"scheduler/online", {with(kSchedulerGround, {"scheduler/place/"}), {}}},
      {"autograd", {{"tidemark/", "core/", "scheduler/", "memory/", "compute/"}, {"absl/"}}},
      {"ops",
       {{"tidemark/op.h", "tidemark/ops.h", "tidemark/ops/", "tidemark/map.h", "tidemark/tensor.h", "tidemark/error.h",
         "tidemark/units.h", "core/", "compute/"},
        {"absl/", "hwy/"}}},
      {"optim", {{"tidemark/", "compute/"}, {"absl/", "hwy/"}}},
      {"nn", {{"tidemark/"}, {"absl/"}}},
      {"data", {{"tidemark/", "core/"}, {"absl/"}}},
      {"loop", {{"tidemark/", "core/"}, {"nlohmann/"}}},
      {"report", {{"tidemark/", "core/", "report/"}, {"nlohmann/"}}},
      {"io", {{"tidemark/", "core/"}, {"absl/", "nlohmann/"}}},
      {"tools", {{"tidemark/", "core/"}, {"CLI/", "absl/", "nlohmann/"}}},
      {"examples", {{"tidemark/"}, {}}},
  };
  return kRules;
}

// Folders that may see inside, and so have no rule.
const std::set<std::string> kFree = {"tests", "bench"};

// The one file that knows oneDNN's headers, whose two versions differ.
constexpr std::string_view kOneDnnDoor = "compute/onednn.h";

// Packages whose types would tie users to a version of them, or that only some folders know.
const std::vector<std::string> kPackages = {"CLI/", "absl/",  "hwy/",   "nlohmann/", "oneapi/",
                                            "dnnl", "gtest/", "gmock/", "benchmark/"};

bool covers(const std::vector<std::string>& list, std::string_view header) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& entry) {
    return entry.back() == '/' ? header.starts_with(entry) : header == entry;
  });
}

std::string folder_of(const std::string& file) {
  if (file.starts_with("include/tidemark/")) return "include/tidemark";
  const std::string folder = file.substr(0, file.find('/'));
  const std::size_t wing = file.find('/', folder.size() + 1);
  return folder == "scheduler" && wing != std::string::npos ? file.substr(0, wing) : folder;
}

// Why `file` may not include `header`, both as paths from the root; nothing where it may.
std::optional<std::string> breach(const std::string& file, const std::string& header, bool quoted, bool exists) {
  const std::string folder = folder_of(file);
  if (kFree.contains(folder)) return std::nullopt;
  const auto rule = rules().find(folder);
  if (rule == rules().end()) return "folder " + folder + " has no rule in include_rules_test.cc";
  const bool package = std::any_of(kPackages.begin(), kPackages.end(),
                                   [&](const std::string& name) { return header.starts_with(name); });
  if (package) {
    if (header.starts_with("oneapi/") && file == kOneDnnDoor) return std::nullopt;
    if (covers(rule->second.packages, header)) return std::nullopt;
    return folder + " may not include " + header;
  }
  if (!quoted && !header.starts_with("tidemark/")) return std::nullopt;  // the standard library and the system
  if (header.starts_with(folder + "/") || covers(rule->second.headers, header)) {
    if (exists) return std::nullopt;
    return header + " does not exist; includes are written from the root";
  }
  return folder + " may not include " + header;
}

std::vector<std::string> breaches(const fs::path& root, const std::string& file, const std::string& text) {
  static const std::regex kInclude(R"re(^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"])re", std::regex::multiline);
  std::vector<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), kInclude), end; it != end; ++it) {
    const std::string header = (*it)[2];
    const bool exists = fs::exists(root / header) || fs::exists(root / "include" / header);
    if (const auto why = breach(file, header, (*it)[1] == "\"", exists)) {
      const auto line = 1 + std::count(text.begin(), text.begin() + it->position(1), '\n');
      found.push_back(file + ":" + std::to_string(line) + ": " + *why);
    }
  }
  return found;
}

const fs::path kRoot = TIDEMARK_SOURCE_DIR;

TEST(IncludeRules, TheTreeKeepsThem) {
  int files = 0;
  std::set<std::string> folders;
  for (const fs::directory_entry& top : fs::directory_iterator(kRoot)) {
    const std::string name = top.path().filename().string();
    if (!top.is_directory() || name.starts_with(".") || name == "build") continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(top.path())) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".def") continue;
      const std::string file = entry.path().lexically_relative(kRoot).generic_string();
      std::ifstream stream(entry.path());
      const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
      EXPECT_THAT(breaches(kRoot, file, text), ::testing::IsEmpty());
      folders.insert(folder_of(file));
      ++files;
    }
  }
  EXPECT_GT(files, 100);
  for (const char* folder :
       {"include/tidemark", "core", "memory", "compute", "scheduler", "autograd", "ops", "optim", "nn", "io", "loop",
        "scheduler/bound", "scheduler/search", "scheduler/place", "scheduler/online"}) {
    EXPECT_TRUE(folders.contains(folder)) << folder;
  }
}

// A shared library shows what stands between the two lines, and nothing else: they enclose all but the includes.
bool is_shown(const std::string& text) {
  const std::string push = "\n#pragma GCC visibility push(default)\n";
  const std::size_t begin = text.find(push);
  return begin != std::string::npos && text.find("\nnamespace ") == begin + push.size() - 1 &&
         text.find("\n#include", begin) == std::string::npos && text.ends_with("\n#pragma GCC visibility pop\n");
}

TEST(IncludeRules, PublicHeadersAreShownByASharedLibrary) {
  int headers = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(kRoot / "include/tidemark")) {
    if (entry.path().extension() != ".h") continue;
    std::ifstream stream(entry.path());
    const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    if (text.find("\nnamespace ") == std::string::npos) continue;  // it includes others, and that is all
    EXPECT_TRUE(is_shown(text)) << entry.path() << ": after its last #include a public header has "
                                << "'#pragma GCC visibility push(default)', and 'pop' as its last line";
    ++headers;
  }
  EXPECT_GT(headers, 40);
}

TEST(IncludeRules, BreachesAreFound) {
  const auto first = [](const std::string& file, const std::string& line) {
    const std::vector<std::string> found = breaches(kRoot, file, "#include <vector>\n" + line + "\n");
    return found.empty() ? std::string() : found.front();
  };
  EXPECT_EQ(first("autograd/x.cc", "#include \"ops/table.h\""),
            "autograd/x.cc:2: autograd may not include ops/table.h");
  const std::pair<const char*, const char*> kForbidden[] = {
      {"include/tidemark/x.h", "#include \"absl/strings/str_cat.h\""},
      {"include/tidemark/x.h", "#include <oneapi/dnnl/dnnl.hpp>"},
      {"include/tidemark/x.h", "#include \"autograd/engine.h\""},
      {"scheduler/x.cc", "#include \"memory/arena.h\""},
      {"scheduler/x.h", "  #  include \"tidemark/tensor.h\""},
      {"scheduler/x.cc", "#include <tidemark/session.h>"},
      {"scheduler/bound/x.cc", "#include \"scheduler/search/schedule.h\""},
      {"scheduler/place/x.cc", "#include \"scheduler/online/trace.h\""},
      {"scheduler/search/x.cc", "#include \"memory/arena.h\""},
      {"memory/x.cc", "#include \"compute/machine.h\""},
      {"compute/x.cc", "#include \"tidemark/op.h\""},
      {"core/x.cc", "#include \"memory/arena.h\""},
      {"compute/x.cc", "#include \"autograd/tape.h\""},
      {"ops/x.cc", "#include \"tidemark/scheduler.h\""},
      {"ops/x.cc", "#include \"scheduler/program.h\""},
      {"ops/x.cc", "#include \"autograd/engine.h\""},
      {"nn/x.cc", "#include \"ops/kernels.h\""},
      {"optim/x.cc", "#include \"autograd/engine.h\""},
      {"data/x.cc", "#include \"memory/arena.h\""},
      {"loop/x.cc", "#include \"scheduler/program.h\""},
      {"io/x.cc", "#include \"compute/half.h\""},
      {"include/tidemark/x.h", "#include <nlohmann/json_fwd.hpp>"},
      {"tools/x.cc", "#include \"autograd/engine.h\""},
      {"data/x.cc", "#include <CLI/CLI.hpp>"},
      {"examples/x.cc", "#include \"optim/kernels.h\""},
      {"autograd/x.cc", "#include <oneapi/dnnl/dnnl.hpp>"},
      {"compute/machine.h", "#include <oneapi/dnnl/dnnl.hpp>"},
      {"autograd/x.cc", "#include \"../ops/table.h\""},
      {"autograd/x.cc", "#include \"autograd/gone.h\""},
      {"autograd/x.cc", "#include \"engine.h\""},
      {"new_folder/x.cc", "#include \"tidemark/op.h\""},
  };
  for (const auto& [file, line] : kForbidden) EXPECT_NE(first(file, line), "") << file << ' ' << line;
  const std::pair<const char*, const char*> kAllowed[] = {
      {"scheduler/x.cc", "#include \"scheduler/online/trace.h\""},
      {"scheduler/search/x.cc", "#include \"scheduler/bound/lower_bound.h\""},
      {"scheduler/x.cc", "#include \"core/extents.h\""},
      {"ops/x.cc", "#include \"compute/machine.h\""},
      {"compute/onednn.h", "#include <oneapi/dnnl/dnnl.hpp>"},
      {"autograd/x.cc", "#include \"memory/arena.h\""},
      {"tests/x.cc", "#include \"autograd/engine.h\""},
      {"nn/x.cc", "#include \"tidemark/op.h\""},
      {"memory/x.cc", "#include <sys/mman.h>"},
  };
  for (const auto& [file, line] : kAllowed) EXPECT_EQ(first(file, line), "") << file << ' ' << line;
}

}  // namespace
}  // namespace tidemark::test
