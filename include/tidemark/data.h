// Data, as ranges of batches:
//
//   for (const auto& [images, labels] : td::data::cifar10("data/cifar10", {.batch = 128, .shuffle = true})) ...
//
// A pass over a loader is one epoch. A source reads its files into host memory once; a thread of the loader writes the
// next batch straight into the session's memory while the present one is used, so that a pass takes two batches from
// the budget, from begin() to its end. A batch that the program keeps keeps its content, and its bytes. Files that are
// missing or damaged, or hold more than 1 GiB together when unpacked, throw FileError naming the file and the byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark::data {

// The most examples of an epoch: a loader holds their order, 8 bytes each.
inline constexpr std::int64_t kMostExamples = std::int64_t{1} << 28;

// Examples in host memory, each an input x and a target y. Read by the loader's thread.
class Source {
 public:
  virtual ~Source() = default;
  // Examples in an epoch, at most kMostExamples. It never changes.
  virtual std::int64_t size() const = 0;
  // Of one example.
  virtual Shape x_shape() const = 0;
  virtual Shape y_shape() const = 0;
  virtual DType x_dtype() const { return f32; }
  virtual DType y_dtype() const { return i32; }
  // The files that it was read from, for programs that must not write over them.
  virtual std::vector<std::string> files() const { return {}; }
  // Writes example `index` as x_dtype() and y_dtype() elements. The same (index, epoch) always gives the same ones.
  virtual void write(std::int64_t index, std::int64_t epoch, void* x, void* y) const = 0;
};

enum class Split : std::uint8_t { kTrain, kTest };

// MNIST's four idx files in `dir`, plain or .gz -> images [1, 28, 28], normalised, and classes.
std::shared_ptr<const Source> mnist_source(const std::string& dir, Split split = Split::kTrain);
// CIFAR-10's binary records in `dir`: data_batch_*.bin and test_batch.bin, or any *.bin with train or test in its name,
// plain or .gz -> images [3, 32, 32], normalised, and classes.
std::shared_ptr<const Source> cifar10_source(const std::string& dir, Split split = Split::kTrain);
// A file's bytes as tokens, in rows of `context` -> tokens [T] and the tokens that follow each [T]. Rows begin at
// another byte each epoch. The last `holdout` of the file is the test split.
struct TextOptions {
  std::int64_t context = 64;
  double holdout = 0.1;
  std::uint64_t seed = 1;
};
std::shared_ptr<const Source> text_source(const std::string& file, Split split = Split::kTrain,
                                          const TextOptions& options = {});
// Images that can be learned: a pattern of each class under noise. Made from the seed as they are read.
struct SyntheticImagesOptions {
  std::int64_t count = 4096;
  std::int64_t channels = 3;
  std::int64_t image = 32;  // height and width
  std::int64_t classes = 10;
  std::uint64_t seed = 1;
};
std::shared_ptr<const Source> synthetic_images(const SyntheticImagesOptions& options = {}, Split split = Split::kTrain);
// Token rows that can be learned: each token follows from the two before it, most of the time.
struct SyntheticTokensOptions {
  std::int64_t count = 4096;
  std::int64_t context = 64;
  std::int64_t vocabulary = 256;
  std::uint64_t seed = 1;
};
std::shared_ptr<const Source> synthetic_tokens(const SyntheticTokensOptions& options = {}, Split split = Split::kTrain);

// The source's examples of these indices, in this order; an index may be there more than once.
std::shared_ptr<const Source> subset(std::shared_ptr<const Source> source, std::vector<std::int64_t> indices,
                                     SourceLocation where = SourceLocation::current());
// Two parts of a source that share it and no example, drawn by the seed:
//   const auto [train, validation] = td::data::split(source, 0.9);
// Text has a split of its own: its rows begin at another byte each epoch, and those of two parts overlap.
struct Parts {
  std::shared_ptr<const Source> train;
  std::shared_ptr<const Source> validation;
};
Parts split(const std::shared_ptr<const Source>& source, double train_part, std::uint64_t seed = 1,
            SourceLocation where = SourceLocation::current());

struct LoaderOptions {
  std::int64_t batch = 32;
  bool shuffle = false;    // in an order that follows from the seed and the epoch
  bool drop_last = false;  // leave out the examples that fill no whole batch; else the last batch is smaller
  std::uint64_t seed = 1;
  Split split = Split::kTrain;  // read by the shorthands below
};

struct Batch {
  Tensor x;
  Tensor y;
};

// A place between two batches: `batch` of them are behind it in this epoch. Counted from 0.
struct Position {
  std::int64_t epoch = 0;
  std::int64_t batch = 0;
};

// Batches of a source in the current session. begin() starts the next epoch and ends an earlier pass.
class Loader {
 public:
  explicit Loader(std::shared_ptr<const Source> source, const LoaderOptions& options = {},
                  SourceLocation where = SourceLocation::current());
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;
  ~Loader();

  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(Loader* loader) : loader_(loader) {}
    const Batch& operator*() const;
    Iterator& operator++();
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return it.at_end(); }

   private:
    bool at_end() const;
    Loader* loader_;
  };
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }

  // Behind the batch that the program has just now; the start of the next epoch where no pass is under way.
  Position position() const;
  // The next pass begins there, in the order of that epoch. A pass that begins behind the last batch is empty: what a
  // program does at the end of an epoch is still to come. Ends a pass that is under way.
  void seek(const Position& position, SourceLocation where = SourceLocation::current());

  // Batches in an epoch.
  std::int64_t batches() const;
  const Source& source() const;
  const LoaderOptions& options() const;

 private:
  struct [[gnu::visibility("hidden")]] State;
  State& state() const;  // throws Error where the loader was moved from
  std::unique_ptr<State> state_;
};

Loader mnist(const std::string& dir, const LoaderOptions& options = {},
             SourceLocation where = SourceLocation::current());
Loader cifar10(const std::string& dir, const LoaderOptions& options = {},
               SourceLocation where = SourceLocation::current());
Loader text(const std::string& file, const TextOptions& text, const LoaderOptions& options = {},
            SourceLocation where = SourceLocation::current());
Loader synthetic(const SyntheticImagesOptions& images, const LoaderOptions& options = {},
                 SourceLocation where = SourceLocation::current());
Loader synthetic(const SyntheticTokensOptions& tokens, const LoaderOptions& options = {},
                 SourceLocation where = SourceLocation::current());

}  // namespace tidemark::data
#pragma GCC visibility pop
