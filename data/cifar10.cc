// CIFAR-10's binary form: records of one label byte and 3 x 32 x 32 pixels, plane by plane.
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/file.h"
#include "tidemark/data.h"

namespace tidemark::data {
namespace {

constexpr std::int64_t kPlane = std::int64_t{32} * 32;
constexpr std::int64_t kRecord = 1 + 3 * kPlane;
constexpr int kClasses = 10;
constexpr float kMean[3] = {0.4914f, 0.4822f, 0.4465f};
constexpr float kStddev[3] = {0.2470f, 0.2435f, 0.2616f};

class Cifar10 final : public Source {
 public:
  explicit Cifar10(std::vector<File> files) : files_(std::move(files)) {
    for (const File& file : files_) {
      const auto size = static_cast<std::int64_t>(file.bytes.size());
      if (size == 0) fail(file.path, 0, "holds no records");
      if (size % kRecord != 0) {
        fail(file.path, size - size % kRecord,
             "the last record is cut off: " + std::to_string(size) + " bytes are not a multiple of 3073");
      }
      for (std::int64_t at = 0; at < size; at += kRecord) {
        const std::uint8_t* record = file.bytes.data() + at;
        if (*record >= kClasses) fail(file.path, at, "label " + std::to_string(*record) + ", but classes are 0 to 9");
        records_.push_back(record);
      }
    }
  }
  std::int64_t size() const override { return std::ssize(records_); }
  std::vector<std::string> files() const override {
    std::vector<std::string> paths;
    for (const File& file : files_) paths.push_back(file.path);
    return paths;
  }
  Shape x_shape() const override { return {3, 32, 32}; }
  Shape y_shape() const override { return {}; }
  void write(std::int64_t index, std::int64_t /*epoch*/, void* x, void* y) const override {
    const std::uint8_t* from = records_[static_cast<std::size_t>(index)];
    *static_cast<std::int32_t*>(y) = *from++;
    auto* to = static_cast<float*>(x);
    for (int channel = 0; channel < 3; ++channel) {
      for (std::int64_t i = 0; i < kPlane; ++i) {
        *to++ = (static_cast<float>(*from++) / 255.0f - kMean[channel]) / kStddev[channel];
      }
    }
  }

 private:
  std::vector<File> files_;
  std::vector<const std::uint8_t*> records_;
};

// The name without .bin or .bin.gz; empty for other files.
std::string stem(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  for (const std::string ending : {".bin", ".bin.gz"}) {
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  }
  return {};
}

}  // namespace

std::shared_ptr<const Source> cifar10_source(const std::string& dir, Split split) {
  const bool train = split == Split::kTrain;
  const std::string official = train ? "data_batch_" : "test_batch";
  const std::string word = train ? "train" : "test";
  const std::vector<std::filesystem::path> all = list_directory(dir);
  std::vector<File> files;
  for (const bool by_word : {false, true}) {
    std::int64_t left = kMostBytes;
    std::set<std::string> seen;  // a file that is there plain and packed is read once: "x.bin" sorts first
    for (const auto& path : all) {
      const std::string name = stem(path);
      if (name.empty()) continue;
      const bool wanted = by_word ? name.find(word) != std::string::npos : name.starts_with(official);
      if (!wanted || !seen.insert(name).second) continue;
      files.push_back(read_file(path, left));
      left -= std::ssize(files.back().bytes);
    }
    if (!files.empty()) return std::make_shared<Cifar10>(std::move(files));
  }
  fail(dir, "holds neither " + official + (train ? "*" : "") + ".bin nor another .bin file with '" + word +
                "' in its name (each may end in .gz)");
}

}  // namespace tidemark::data
