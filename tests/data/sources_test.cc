// The readers of data files, on files that the tests write: whole ones, and each kind of damage.
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "data/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/temporary_folder.h"
#include "tidemark/data.h"

namespace tidemark::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Bytes = std::vector<std::uint8_t>;

class SourcesTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const Bytes& bytes) const {
    std::ofstream(dir_ / name, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  }
  void write_gz(const std::string& name, const Bytes& bytes, const char* mode = "wb") const {
    gzFile file = gzopen((dir_ / name).c_str(), mode);
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
  }
  Bytes read(const std::string& name) const {
    std::ifstream file(dir_ / name, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(file), {});
  }

  const test::TemporaryFolder folder_;
  const std::filesystem::path dir_ = folder_.path();
};

void append_big_endian(Bytes& bytes, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

Bytes idx_images(std::uint32_t count) {
  Bytes bytes;
  for (const std::uint32_t word : {0x803u, count, 28u, 28u}) append_big_endian(bytes, word);
  for (std::uint32_t i = 0; i < count * 784; ++i) bytes.push_back(static_cast<std::uint8_t>(i % 256));
  return bytes;
}

Bytes idx_labels(std::uint32_t count) {
  Bytes bytes;
  append_big_endian(bytes, 0x801u);
  append_big_endian(bytes, count);
  for (std::uint32_t i = 0; i < count; ++i) bytes.push_back(static_cast<std::uint8_t>(i % 10));
  return bytes;
}

Bytes cifar_records(int count) {
  Bytes bytes;
  for (int i = 0; i < count; ++i) {
    bytes.push_back(static_cast<std::uint8_t>(i % 10));
    for (int pixel = 0; pixel < 3072; ++pixel) bytes.push_back(static_cast<std::uint8_t>((i + pixel) % 256));
  }
  return bytes;
}

#define EXPECT_FILE_ERROR(expression, ...) \
  EXPECT_THAT([&] { (void)(expression); }, ThrowsMessage<FileError>(AllOf(__VA_ARGS__)))

TEST_F(SourcesTest, MnistPlainAndPacked) {
  write("train-images-idx3-ubyte", idx_images(5));
  write("train-labels-idx1-ubyte", idx_labels(5));
  write_gz("t10k-images-idx3-ubyte.gz", idx_images(3));
  write_gz("t10k-labels-idx1-ubyte.gz", idx_labels(3));
  EXPECT_EQ(mnist_source(dir_, Split::kTest)->size(), 3);
  const auto source = mnist_source(dir_);
  ASSERT_EQ(source->size(), 5);
  EXPECT_EQ(source->x_shape(), Shape({1, 28, 28}));
  std::vector<float> x(784);
  std::int32_t y = -1;
  source->write(3, 0, x.data(), &y);
  EXPECT_EQ(y, 3);
  EXPECT_FLOAT_EQ(x[7], (static_cast<float>((3 * 784 + 7) % 256) / 255.0f - 0.1307f) / 0.3081f);
}

TEST_F(SourcesTest, MnistMissing) {
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("train-images-idx3-ubyte"), HasSubstr("No such file"));
}

TEST_F(SourcesTest, MnistTruncated) {
  Bytes images = idx_images(5);
  images.resize(images.size() - 10);
  write("train-images-idx3-ubyte", images);
  write("train-labels-idx1-ubyte", idx_labels(5));
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("train-images-idx3-ubyte: byte 3926: ends too early"),
                    HasSubstr("3936"));
  images.resize(9);
  write("train-images-idx3-ubyte", images);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 9: ends within the header"));
  write("train-images-idx3-ubyte", {});
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 0: ends within the header"));
}

TEST_F(SourcesTest, MnistWrongHeaders) {
  write("train-labels-idx1-ubyte", idx_labels(5));
  write("train-images-idx3-ubyte", idx_labels(5 * 784 + 8));
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 0: the magic number is 2049, but should be 2051"));
  Bytes wide = idx_images(5);
  wide[15] = 29;
  write("train-images-idx3-ubyte", wide);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 12: images are 29 wide"));
  Bytes longer = idx_images(5);
  longer.push_back(0);
  write("train-images-idx3-ubyte", longer);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 3936: 1 bytes too many"));
  write("train-images-idx3-ubyte", idx_images(6));
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("labels-idx1-ubyte: byte 4: 5 labels for 6 images"));
  Bytes huge = idx_images(1);
  huge[4] = 0xff;  // about 4 billion images
  write("train-images-idx3-ubyte", huge);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("ends too early"));
}

TEST_F(SourcesTest, MnistLabelOutOfRange) {
  write("train-images-idx3-ubyte", idx_images(5));
  Bytes labels = idx_labels(5);
  labels[8 + 2] = 10;
  write("train-labels-idx1-ubyte", labels);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("train-labels-idx1-ubyte: byte 10: label 10"));
}

TEST_F(SourcesTest, DamagedGzip) {
  write("train-labels-idx1-ubyte", idx_labels(50));
  write_gz("train-images-idx3-ubyte.gz", idx_images(50));
  const Bytes packed = read("train-images-idx3-ubyte.gz");

  Bytes cut = packed;
  cut.resize(cut.size() / 2);
  write("train-images-idx3-ubyte.gz", cut);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("images-idx3-ubyte.gz: byte " + std::to_string(cut.size())),
                    HasSubstr("ends too early"));
  Bytes checksum = packed;
  checksum[checksum.size() - 6] ^= 1;
  write("train-images-idx3-ubyte.gz", checksum);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr(": byte " + std::to_string(packed.size() - 4) +
                                                  ": damaged gzip data (incorrect data check)"));
  write("train-images-idx3-ubyte.gz", idx_images(50));
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 0: damaged gzip data (no gzip header)"));
  write("train-images-idx3-ubyte.gz", {});
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 0: the gzip data ends too early"));
  write_gz("train-images-idx3-ubyte.gz", {});
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("byte 0: ends within the header"));
}

TEST_F(SourcesTest, GzipOfSeveralMembers) {
  const Bytes images = idx_images(5);
  write_gz("train-images-idx3-ubyte.gz", Bytes(images.begin(), images.begin() + 1000));
  write_gz("train-images-idx3-ubyte.gz", Bytes(images.begin() + 1000, images.end()), "ab");
  write("train-labels-idx1-ubyte", idx_labels(5));
  EXPECT_EQ(mnist_source(dir_)->size(), 5);
  Bytes packed = read("train-images-idx3-ubyte.gz");
  packed.resize(packed.size() - 20);  // of the second member
  write("train-images-idx3-ubyte.gz", packed);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("the gzip data ends too early"));
}

TEST_F(SourcesTest, CifarOfficialNamesComeFirst) {
  write("data_batch_1.bin", cifar_records(4));
  write("data_batch_2.bin", cifar_records(3));
  write_gz("data_batch_2.bin.gz", cifar_records(3));  // the same again, packed
  write("my_train_set.bin", cifar_records(9));
  write_gz("test_batch.bin.gz", cifar_records(2));
  EXPECT_EQ(cifar10_source(dir_, Split::kTest)->size(), 2);
  const auto source = cifar10_source(dir_);
  ASSERT_EQ(source->size(), 7);
  std::vector<float> x(3072);
  std::int32_t y = -1;
  source->write(6, 0, x.data(), &y);
  EXPECT_EQ(y, 2);
  EXPECT_FLOAT_EQ(x[1024], (static_cast<float>((2 + 1024) % 256) / 255.0f - 0.4822f) / 0.2435f);
}

TEST_F(SourcesTest, CifarByWord) {
  write_gz("small_train_7.bin.gz", cifar_records(7));
  EXPECT_EQ(cifar10_source(dir_)->size(), 7);
  EXPECT_FILE_ERROR(cifar10_source(dir_, Split::kTest), HasSubstr(dir_.string()), HasSubstr("test_batch.bin"));
  EXPECT_FILE_ERROR(cifar10_source((dir_ / "nowhere").string()), HasSubstr("nowhere: cannot be read as a directory"));
}

TEST_F(SourcesTest, CifarDamaged) {
  Bytes records = cifar_records(3);
  records.resize(records.size() - 1);
  write("data_batch_1.bin", records);
  EXPECT_FILE_ERROR(cifar10_source(dir_), HasSubstr("data_batch_1.bin: byte 6146: the last record is cut off"));
  records = cifar_records(3);
  records[2 * 3073] = 200;
  write("data_batch_1.bin", records);
  EXPECT_FILE_ERROR(cifar10_source(dir_), HasSubstr("data_batch_1.bin: byte 6146: label 200"));
  write("data_batch_1.bin", {});
  EXPECT_FILE_ERROR(cifar10_source(dir_), HasSubstr("byte 0: holds no records"));
}

TEST_F(SourcesTest, TextRowsAndTargets) {
  Bytes bytes(1000);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
  write("text.txt", bytes);
  const auto source = text_source(dir_ / "text.txt", Split::kTrain, {.context = 16, .holdout = 0.1});
  ASSERT_EQ(source->size(), 900 / 16 - 1);
  EXPECT_EQ(source->x_dtype(), i32);
  bool moved = false;
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<std::int32_t> x(16), y(16), first(16);
    source->write(0, epoch, first.data(), y.data());
    moved = moved || first[0] != 0;
    source->write(source->size() - 1, epoch, x.data(), y.data());
    for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(y[i], (x[i] + 1) % 256);
    EXPECT_EQ(x[0], (first[0] + (source->size() - 1) * 16) % 256);
  }
  EXPECT_TRUE(moved);
  std::vector<std::int32_t> x(16), y(16);
  text_source(dir_ / "text.txt", Split::kTest, {.context = 16, .holdout = 0.1})->write(0, 7, x.data(), y.data());
  EXPECT_EQ(x[0], 900 % 256);
}

TEST_F(SourcesTest, TextTooShort) {
  write("text.txt", Bytes(100, 'a'));
  EXPECT_FILE_ERROR(text_source(dir_ / "text.txt", Split::kTest, {.context = 16}), HasSubstr("text.txt: byte 100"),
                    HasSubstr("test part has 10 bytes"), HasSubstr("at least 32"));
  EXPECT_FILE_ERROR(text_source(dir_), HasSubstr("is a directory"));
}

TEST_F(SourcesTest, TextRowsLongerThanAnyFile) {
  write("text.txt", Bytes(100, 'a'));
  EXPECT_FILE_ERROR(text_source(dir_ / "text.txt", Split::kTrain, {.context = INT64_MAX}),
                    HasSubstr("need at least 18446744073709551614"));
}

TEST_F(SourcesTest, WhatIsNoFileIsNamed) {
  EXPECT_FILE_ERROR(text_source("/dev/zero"), HasSubstr("/dev/zero: is a device, not a file"));
  ASSERT_EQ(mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  EXPECT_FILE_ERROR(text_source(dir_ / "pipe"), HasSubstr("pipe: is a pipe, not a file"));
  const std::string labels = dir_ / "train-labels-idx1-ubyte";
  write("train-images-idx3-ubyte", idx_images(5));
  ASSERT_EQ(mkfifo((labels + ".gz").c_str(), 0600), 0);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr(labels + ".gz: is a pipe, not a file"));
  std::filesystem::create_symlink(labels, labels);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr(labels + ".gz: is a pipe"));
  std::filesystem::remove(labels + ".gz");
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr(labels + ": cannot be opened"), HasSubstr("symbolic links"));
  EXPECT_FILE_ERROR(mnist_source(std::string(5000, 'd')), HasSubstr("File name too long"));
  EXPECT_FILE_ERROR(cifar10_source(std::string(300, 'd')), HasSubstr("File name too long"));
  EXPECT_FILE_ERROR(text_source(std::string(300, 't')), HasSubstr("File name too long"));
  // A part of the data that is there and cannot be read is not left out.
  write("data_batch_1.bin", cifar_records(4));
  ASSERT_EQ(mkfifo((dir_ / "data_batch_2.bin").c_str(), 0600), 0);
  EXPECT_FILE_ERROR(cifar10_source(dir_), HasSubstr("data_batch_2.bin: is a pipe"));
}

TEST_F(SourcesTest, ClosedFolders) {
  write("text.txt", Bytes(1000, 'a'));
  std::filesystem::permissions(dir_, std::filesystem::perms::none);
  {
    const test::WithoutPrivileges somebody;
    EXPECT_FILE_ERROR(text_source(dir_ / "text.txt"), HasSubstr("text.txt: cannot be opened: Permission denied"));
    EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("train-images-idx3-ubyte: cannot be opened: Permission denied"));
    EXPECT_FILE_ERROR(cifar10_source(dir_), HasSubstr("cannot be read as a directory: Permission denied"));
  }
  std::filesystem::permissions(dir_, std::filesystem::perms::owner_all);
}

TEST_F(SourcesTest, NoMoreThanAGibibyteIsRead) {
  write("zeros", {});
  std::filesystem::resize_file(dir_ / "zeros", std::uintmax_t{5} << 30);  // takes nothing on the disk
  EXPECT_FILE_ERROR(text_source(dir_ / "zeros"), HasSubstr("zeros: is longer than 1.0 GiB"));
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin"}) {
    write(name, {});
    std::filesystem::resize_file(dir_ / name, 3073 * 180'000);
  }
  EXPECT_FILE_ERROR(cifar10_source(dir_), HasSubstr("data_batch_2.bin: is longer than 496.5 MiB"));
}

// 1 MiB on the disk.
TEST_F(SourcesTest, AGzipBombIsNotUnpacked) {
  write_gz("member", Bytes(16 << 20));
  const Bytes member = read("member");
  Bytes bomb;
  for (int i = 0; i < 65; ++i) bomb.insert(bomb.end(), member.begin(), member.end());
  write("train-images-idx3-ubyte.gz", bomb);
  EXPECT_FILE_ERROR(mnist_source(dir_), HasSubstr("train-images-idx3-ubyte.gz: holds more than 1.0 GiB"));
}

TEST_F(SourcesTest, SourcesNameTheirFiles) {
  write("text.txt", Bytes(1000, 'a'));
  write("train-images-idx3-ubyte", idx_images(5));
  write_gz("train-labels-idx1-ubyte.gz", idx_labels(5));
  write("data_batch_1.bin", cifar_records(4));
  write("data_batch_2.bin", cifar_records(4));
  const auto in_folder = [&](const std::vector<std::string>& names) {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(dir_ / name);
    return paths;
  };
  EXPECT_EQ(text_source(dir_ / "text.txt")->files(), in_folder({"text.txt"}));
  EXPECT_EQ(mnist_source(dir_)->files(), in_folder({"train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"}));
  EXPECT_EQ(cifar10_source(dir_)->files(), in_folder({"data_batch_1.bin", "data_batch_2.bin"}));
  EXPECT_TRUE(synthetic_images()->files().empty());
}

TEST_F(SourcesTest, SyntheticSizesAreBounded) {
  constexpr std::int64_t kTooMuch = std::int64_t{1} << 40;
  for (const std::int64_t size : {std::int64_t{-1}, std::int64_t{0}, kTooMuch, std::int64_t{INT64_MAX}}) {
    const auto expect = [&](const auto& make, const char* option) {
      EXPECT_THAT(make,
                  ThrowsMessage<Error>(AllOf(HasSubstr(std::string("synthetic: ") + option + " must be from 1 to "),
                                             HasSubstr("but is " + std::to_string(size)))));
    };
    expect([&] { (void)synthetic_images({.count = size}); }, ".count");
    expect([&] { (void)synthetic_images({.channels = size}); }, ".channels");
    expect([&] { (void)synthetic_images({.image = size}); }, ".image");
    expect([&] { (void)synthetic_images({.classes = size}); }, ".classes");
    expect([&] { (void)synthetic_tokens({.count = size}); }, ".count");
    expect([&] { (void)synthetic_tokens({.context = size}); }, ".context");
    expect([&] { (void)synthetic_tokens({.vocabulary = size}); }, ".vocabulary");
  }
  const auto tokens = synthetic_tokens({.count = 4, .context = 200, .vocabulary = INT32_MAX});
  std::vector<std::int32_t> x(200), y(200);
  tokens->write(1, 0, x.data(), y.data());
  for (const std::int32_t token : y) EXPECT_GE(token, 0);
}

TEST_F(SourcesTest, SyntheticFollowsFromTheSeed) {
  const auto draw_image = [](std::uint64_t seed, Split split) {
    const auto source = synthetic_images({.count = 10, .channels = 2, .image = 8, .classes = 3, .seed = seed}, split);
    std::vector<float> x(128);
    std::int32_t y = -1;
    source->write(5, 0, x.data(), &y);
    EXPECT_GE(y, 0);
    EXPECT_LT(y, 3);
    return x;
  };
  EXPECT_EQ(draw_image(1, Split::kTrain), draw_image(1, Split::kTrain));
  EXPECT_NE(draw_image(1, Split::kTrain), draw_image(2, Split::kTrain));
  EXPECT_NE(draw_image(1, Split::kTrain), draw_image(1, Split::kTest));

  const auto tokens = synthetic_tokens({.count = 4, .context = 200, .vocabulary = 17, .seed = 3});
  std::vector<std::int32_t> x(200), y(200);
  tokens->write(1, 0, x.data(), y.data());
  int regular = 0;
  for (std::size_t i = 1; i < 200; ++i) {
    EXPECT_EQ(x[i], y[i - 1]);
    regular += y[i] == (x[i] + x[i - 1] + 1) % 17;
  }
  EXPECT_GT(regular, 160);
  EXPECT_LT(regular, 200);
}

// Example i is x = (i, epoch) and y = i.
class Counting final : public Source {
 public:
  explicit Counting(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  Shape x_shape() const override { return {2}; }
  Shape y_shape() const override { return {1}; }
  DType x_dtype() const override { return i32; }
  std::vector<std::string> files() const override { return {"a file"}; }
  void write(std::int64_t index, std::int64_t epoch, void* x, void* y) const override {
    static_cast<std::int32_t*>(x)[0] = static_cast<std::int32_t>(index);
    static_cast<std::int32_t*>(x)[1] = static_cast<std::int32_t>(epoch);
    *static_cast<std::int32_t*>(y) = static_cast<std::int32_t>(index);
  }

 private:
  std::int64_t size_;
};

std::vector<std::int32_t> all_of(const Source& source) {
  std::vector<std::int32_t> all;
  for (std::int64_t i = 0; i < source.size(); ++i) {
    std::vector<std::int32_t> x(2);
    source.write(i, 7, x.data(), &all.emplace_back());
    EXPECT_EQ(x, (std::vector<std::int32_t>{all.back(), 7}));
  }
  return all;
}

TEST(SubsetTest, ExamplesInTheGivenOrder) {
  const auto part = subset(std::make_shared<Counting>(5), {4, 0, 4});
  EXPECT_EQ(all_of(*part), (std::vector<std::int32_t>{4, 0, 4}));
  EXPECT_EQ(part->x_shape(), Shape({2}));
  EXPECT_EQ(part->y_shape(), Shape({1}));
  EXPECT_EQ(part->x_dtype(), i32);
  EXPECT_EQ(part->files(), std::vector<std::string>{"a file"});
  EXPECT_EQ(subset(part, {})->size(), 0);
  EXPECT_EQ(all_of(*subset(part, {2, 1})), (std::vector<std::int32_t>{4, 0}));
}

TEST(SubsetTest, WrongCalls) {
  for (const std::int64_t index : {-1, 5}) {
    EXPECT_THAT(
        [&] {
          (void)subset(std::make_shared<Counting>(5), {0, index});
        },
        ThrowsMessage<Error>(HasSubstr("subset: index 1 is " + std::to_string(index) +
                                       ", but the source has 5 examples (at sources_test.cc:")));
  }
  EXPECT_THAT([] { (void)subset(nullptr, {}); }, ThrowsMessage<Error>(HasSubstr("the pointer is null")));
  EXPECT_THAT([] { (void)split(nullptr, 0.5); }, ThrowsMessage<Error>(HasSubstr("the pointer is null")));
}

TEST(SplitTest, PartsShareTheSourceAndNoExample) {
  const auto source = std::make_shared<Counting>(1000);
  const auto [train, validation] = split(source, 0.9, 3);
  const std::vector<std::int32_t> larger = all_of(*train), smaller = all_of(*validation);
  EXPECT_EQ(larger.size(), 900u);
  EXPECT_EQ(smaller.size(), 100u);
  EXPECT_TRUE(std::is_sorted(larger.begin(), larger.end()));
  std::vector<std::int32_t> both;
  std::merge(larger.begin(), larger.end(), smaller.begin(), smaller.end(), std::back_inserter(both));
  std::vector<std::int32_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(both, expected);
  // By the seed alone, and from the whole of the source.
  EXPECT_EQ(all_of(*split(source, 0.9, 3).validation), smaller);
  EXPECT_NE(all_of(*split(source, 0.9, 4).validation), smaller);
  EXPECT_LT(smaller.front(), 100);
  EXPECT_GT(smaller.back(), 900);
}

TEST(SplitTest, EmptyPartsAreRefused) {
  const auto source = std::make_shared<Counting>(5);
  EXPECT_EQ(split(source, 0.8).validation->size(), 1);
  EXPECT_THAT([&] { (void)split(source, 0.95); }, ThrowsMessage<Error>(HasSubstr("leave the validation part empty")));
  EXPECT_THAT([&] { (void)split(source, 0.05); }, ThrowsMessage<Error>(HasSubstr("leave the training part empty")));
  EXPECT_THROW((void)split(std::make_shared<Counting>(0), 0.5), Error);
  for (const double part : {0.0, 1.0, -1.0, 2.0, std::nan("")}) {
    EXPECT_THAT([&] { (void)split(source, part); }, ThrowsMessage<Error>(HasSubstr("must be between 0 and 1")));
  }
}

TEST(RandomTest, PermutationsHoldEachIndexOnceAndDiffer) {
  std::vector<std::int64_t> first = permutation(1000, 1);
  EXPECT_NE(first, permutation(1000, 2));
  EXPECT_EQ(first, permutation(1000, 1));
  std::sort(first.begin(), first.end());
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(first[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace tidemark::data
