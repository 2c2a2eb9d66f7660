// Sample files cut off anywhere and changed at random: each is refused with file and byte, or read, and the bytes that
// are held in between are bounded by the file's. TIDEMARK_FILE_MUTATIONS says how many; 10,000 where it is not set.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "compute/malloc_hook.h"
#include "tests/io/support.h"

namespace tidemark::test {
namespace {

// A file in memory, whose content changes.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("tensors", MFD_CLOEXEC)) {}
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  void write(const std::string& content) const {
    ASSERT_EQ(::ftruncate(descriptor_, 0), 0);
    ASSERT_EQ(::pwrite(descriptor_, content.data(), content.size(), 0), std::ssize(content));
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// All of a tensor, whole and then in two parts, which have to be the same.
void read_all(const TensorFile& file, const FileTensor& tensor, std::vector<char>& whole, std::vector<char>& parts) {
  const std::int64_t size = size_of(tensor.type);
  const std::int64_t most = std::min(tensor.elements, std::ssize(whole) / size);  // a bomb is not read to its end
  file.read(tensor, 0, most, whole.data());
  const std::int64_t middle = most / 3;
  file.read(tensor, middle, most - middle, parts.data());
  file.read(tensor, 0, middle, parts.data() + (most - middle) * size);
  const auto head = static_cast<std::size_t>(middle * size);
  const auto rest = static_cast<std::size_t>((most - middle) * size);
  ASSERT_EQ(std::memcmp(whole.data() + head, parts.data(), rest), 0);
  ASSERT_EQ(std::memcmp(whole.data(), parts.data() + rest, head), 0);
}

class MutationTest : public ::testing::Test {
 protected:
  // True where it is read.
  bool check(const std::string& content) {
    file_.write(content);
    bool read = false;
    const compute::MallocWatch watch;
    try {
      const TensorFile tensors(path_);
      for (const FileTensor& tensor : tensors.tensors()) read_all(tensors, tensor, whole_, parts_);
      read = true;
    } catch (const FileError& error) {
      const std::string text = error.what();
      EXPECT_TRUE(text.starts_with(path_ + ": byte ")) << text;
      EXPECT_LT(text.size(), 1000u) << text;
    }
    // What buffers and zlib take, and some bytes a byte of the header's.
    EXPECT_LT(watch.peak_bytes(), 400'000 + 10 * std::ssize(content));
    return read;
  }

  const std::vector<std::pair<std::string, std::string>> samples_ = samples();
  const MemoryFile file_;
  const std::string path_ = file_.path();
  std::vector<char> whole_ = std::vector<char>(1 << 16);
  std::vector<char> parts_ = std::vector<char>(1 << 16);
};

TEST_F(MutationTest, SamplesAreGood) {
  for (const auto& [name, content] : samples_) EXPECT_TRUE(check(content)) << name;
}

TEST_F(MutationTest, FilesThatAreCutOffAreRefused) {
  for (const auto& [name, content] : samples_) {
    for (std::size_t size = 0; size < content.size(); ++size) {
      ASSERT_FALSE(check(content.substr(0, size))) << name << " of " << size << " bytes";
    }
  }
}

class Mutator {
 public:
  Mutator(std::uint64_t seed, const std::vector<std::pair<std::string, std::string>>& samples)
      : random_(seed), samples_(samples) {}

  std::string next() {
    std::string content = any_sample();
    for (std::uint64_t changes = 1 + below(4); changes > 0; --changes) change(content);
    return content;
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  const std::string& any_sample() { return samples_[below(samples_.size())].second; }
  std::uint64_t any_number(std::size_t size) {
    const std::uint64_t numbers[] = {0,          1,          0xFF, 0xFFFF,   0xFFFFFFFF, ~std::uint64_t{0}, 1ULL << 63,
                                     1ULL << 31, 1ULL << 52, size, size - 1, size / 2,   random_(),         below(300)};
    return numbers[below(std::size(numbers))];
  }
  void change(std::string& content) {
    if (content.empty()) content = "x";
    const std::uint64_t at = below(content.size());
    const std::uint64_t count = std::min<std::uint64_t>(1 + below(below(2) == 0 ? 4 : 64), content.size() - at);
    switch (below(8)) {
      case 0:
        content[at] = static_cast<char>(content[at] ^ 1 << below(8));
        break;
      case 1:
        content[at] = static_cast<char>(random_());
        break;
      case 2:
        content.insert(at, count, static_cast<char>(random_()));
        break;
      case 3:
        content.erase(at, count);
        break;
      case 4: {  // a part of any sample
        const std::string& other = any_sample();
        const std::uint64_t from = below(other.size());
        const std::string part = other.substr(from, count);
        if (below(2) == 0) {
          content.insert(at, part);
        } else {
          content.replace(at, part.size(), part);
        }
        break;
      }
      case 5: {  // a length or a place
        const int bytes = 1 << below(4);
        const std::string number = little(any_number(content.size()), bytes);
        content.replace(at, number.size(), number);
        break;
      }
      case 6: {  // one that is written as text
        const std::size_t digit = content.find_first_of("0123456789", at);
        if (digit != std::string::npos) content.replace(digit, 1, std::to_string(any_number(content.size())));
        break;
      }
      default:
        content[at] = "{}[]():,\"'\\ \n\0"[below(14)];
        break;
    }
  }

  std::mt19937_64 random_;
  const std::vector<std::pair<std::string, std::string>>& samples_;
};

TEST_F(MutationTest, ChangedFilesAreRefusedOrRead) {
  const char* const asked = std::getenv("TIDEMARK_FILE_MUTATIONS");
  const std::int64_t count = asked != nullptr ? std::atoll(asked) : 10'000;
  Mutator mutator(1, samples_);
  std::int64_t read = 0;
  for (std::int64_t i = 0; i < count && !HasFailure(); ++i) {
    const std::string content = mutator.next();
    read += check(content) ? 1 : 0;
    if (HasFailure()) {
      std::string hex;
      for (const char c : content)
        hex += ::testing::PrintToString(static_cast<int>(static_cast<unsigned char>(c))) + " ";
      ADD_FAILURE() << "file " << i << ": " << hex;
    }
  }
  EXPECT_GT(read, count / 50);  // of data alone, say
  EXPECT_LT(read, count / 2);
}

}  // namespace
}  // namespace tidemark::test
