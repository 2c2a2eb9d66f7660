// Model files: td::save and td::load.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/model_tensors.h"
#include "io/stream.h"
#include "tidemark/io.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

using io::ModelTensor;
using io::ModelTensors;

std::string to_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

bool is_float(StoredType type) {
  return type == StoredType::kF16 || type == StoredType::kBF16 || type == StoredType::kF32 || type == StoredType::kF64;
}

// A tensor or a counter of the model, and where the file has it.
struct Found {
  const FileTensor* tensor = nullptr;
  bool transpose = false;
};

// What of a file goes where, once all of it is known to fit.
class Loading {
 public:
  Loading(const nn::detail::Visit& visit, const std::string& path, const LoadOptions& options, SourceLocation where)
      : model_(io::model_tensors(visit)),
        open_(std::make_shared<const TensorFile>(path)),
        file_(*open_),
        options_(options),
        where_(where) {
    io::check(options.names, where);
    for (std::size_t i = 0; i < model_.tensors.size(); ++i) {
      for (const std::string& name : model_.tensors[i].names) index_.emplace(name, i);
    }
    found_.resize(model_.tensors.size());
    counters_.resize(model_.counters.size());
    for (const FileTensor& tensor : file_.tensors()) place(tensor);
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (found_[i].empty()) {
        report_.missing.push_back(model_.tensors[i].names.front());
        missing_ +=
            "\n  missing: " + model_.tensors[i].names.front() + " " + model_.tensors[i].tensor.shape(where).to_string();
      }
    }
    // A counter that a file lacks stays as it is: older files and those of others have none.
  }

  LoadReport run() {
    std::string wrong = wrong_;
    if (options_.strict) wrong = missing_ + left_over_ + wrong;
    if (!wrong.empty()) {
      throw FileError(file_.path() + " does not fit the model:" + wrong + "\n(at " + to_string(where_) + ")");
    }
    for (std::size_t i = 0; i < found_.size(); ++i) {
      for (std::size_t other = 1; other < found_[i].size(); ++other) require_equal(found_[i][0], found_[i][other]);
    }
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (found_[i].empty()) continue;
      const Tensor& to = model_.tensors[i].tensor;
      if (options_.lazy && model_.tensors[i].parameter && !to.requires_grad()) {
        read_when_needed(to, found_[i][0]);
      } else {
        fill(to, found_[i][0]);
      }
    }
    for (std::size_t i = 0; i < counters_.size(); ++i) {
      if (counters_[i] != nullptr) file_.read(*counters_[i], 0, 1, model_.counters[i].value, where_);
    }
    return report_;
  }

 private:
  void place(const FileTensor& tensor) {
    if (!tensor.name.starts_with(options_.prefix)) return;
    const std::string own = tensor.name.substr(options_.prefix.size());
    const auto ignored = [&](const std::string& pattern) { return matches(own, pattern); };
    if (std::any_of(options_.names.ignored.begin(), options_.names.ignored.end(), ignored)) return;
    const io::Renamed to = io::to_module(options_.names, own);
    const auto known = index_.find(to.name);
    if (known != index_.end()) {
      check(tensor, to.transpose, model_.tensors[known->second].tensor);
      found_[known->second].push_back({&tensor, to.transpose});
      return;
    }
    for (std::size_t i = 0; i < model_.counters.size(); ++i) {
      if (model_.counters[i].name != to.name) continue;
      if (tensor.type != StoredType::kI64 || !tensor.shape.empty()) {
        wrong_ += "\n  of another kind: " + tensor.name + " is " + to_string(tensor.type) + " " +
                  to_text(tensor.shape) + " in the file, but a number (i64 []) in the model";
      }
      counters_[i] = &tensor;
      return;
    }
    report_.left_over.push_back(tensor.name);
    left_over_ += "\n  left over: " + tensor.name + " " + to_text(tensor.shape);
  }

  void check(const FileTensor& tensor, bool transpose, const Tensor& to) {
    std::vector<std::int64_t> shape = tensor.shape;
    if (transpose) std::reverse(shape.begin(), shape.end());
    const std::span<const std::int64_t> own = to.shape(where_).dims();
    if ((transpose && shape.size() != 2) || !std::equal(shape.begin(), shape.end(), own.begin(), own.end())) {
      wrong_ += "\n  of another shape: " + tensor.name + " is " + to_text(tensor.shape) + " in the file, " +
                (transpose ? "which is turned, but " : "but ") + to.shape(where_).to_string() + " in the model";
    } else if (options_.type && tensor.type != *options_.type) {
      wrong_ += "\n  of another type: " + tensor.name + " is " + to_string(tensor.type) + " in the file, and not " +
                to_string(*options_.type);
    } else if (!is_float(tensor.type)) {
      wrong_ += "\n  of another type: " + tensor.name + " is " + to_string(tensor.type) +
                " in the file; a model takes f16, bf16, f32 and f64";
    }
  }

  // Two names of what is one tensor in the model.
  void require_equal(const Found& a, const Found& b) {
    bool equal = a.transpose == b.transpose;
    std::vector<float> left(io::kChunk), right(io::kChunk);
    for (std::int64_t first = 0; equal && first < a.tensor->elements; first += io::kChunk) {
      const std::int64_t count = std::min(io::kChunk, a.tensor->elements - first);
      file_.read_f32(*a.tensor, first, count, left.data(), where_);
      file_.read_f32(*b.tensor, first, count, right.data(), where_);
      equal = std::memcmp(left.data(), right.data(), static_cast<std::size_t>(count) * sizeof(float)) == 0;
    }
    if (equal) return;
    throw FileError(file_.path() + " does not fit the model: " + a.tensor->name + " and " + b.tensor->name +
                    " are one tensor in the model, and differ in the file (at " + to_string(where_) + ")");
  }

  void read_when_needed(const Tensor& to, const Found& from) {
    if (!seconds_per_byte_) seconds_per_byte_ = measure();
    const FileTensor tensor = *from.tensor;
    detail::set_reader(to,
                       {.read =
                            [file = open_, turn = turn_, tensor, transpose = from.transpose, threads = threads_,
                             where = where_](std::int64_t first, std::int64_t count, std::byte* bytes) {
                              io::read_part(*file, tensor, transpose, first, count, bytes, threads, where, turn.get());
                            },
                        .seconds = *seconds_per_byte_ * static_cast<double>(tensor.bytes),
                        // Others are unpacked, or turned, as a whole.
                        .in_parts = io::lies_open(*open_, tensor) && !from.transpose},
                       where_);
  }

  // Seconds a byte of the file, by its largest tensor.
  double measure() const {
    const auto less = [](const FileTensor& a, const FileTensor& b) { return a.bytes < b.bytes; };
    const FileTensor& largest = *std::max_element(file_.tensors().begin(), file_.tensors().end(), less);
    constexpr std::int64_t kMost = 32 * io::kChunk;
    const std::int64_t count = std::min(kMost, largest.elements);
    std::vector<float> buffer(static_cast<std::size_t>(std::min(count, io::kChunk)));
    const auto began = std::chrono::steady_clock::now();
    for (std::int64_t first = 0; first < count; first += io::kChunk) {
      const std::int64_t n = std::min(io::kChunk, count - first);
      io::read_part(file_, largest, false, first * 4, n * 4, reinterpret_cast<std::byte*>(buffer.data()), threads_,
                    where_);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
    return seconds.count() / static_cast<double>(std::max<std::int64_t>(1, count * size_of(largest.type)));
  }

  void fill(const Tensor& to, const Found& from) {
    detail::fill_leaf(
        to,
        [&](std::byte* bytes) {
          io::read_part(file_, *from.tensor, from.transpose, 0, from.tensor->elements * 4, bytes, threads_, where_);
        },
        where_);
  }

  ModelTensors model_;
  std::shared_ptr<const TensorFile> open_;
  std::shared_ptr<std::mutex> turn_ = std::make_shared<std::mutex>();
  const TensorFile& file_;
  const LoadOptions& options_;
  SourceLocation where_;
  int threads_ = Session::current().options().threads;
  std::unordered_map<std::string, std::size_t> index_;  // of tensors, by every name
  std::vector<std::vector<Found>> found_;               // by tensor: once, or under several names
  std::vector<const FileTensor*> counters_;             // by counter; null where the file has none
  LoadReport report_;
  std::string missing_, left_over_, wrong_;
  std::optional<double> seconds_per_byte_;  // of reading
};

}  // namespace

namespace detail {

LoadReport load(const nn::detail::Visit& visit, const std::string& path, const LoadOptions& options,
                SourceLocation where) {
  return Loading(visit, path, options, where).run();
}

void save(const nn::detail::Visit& visit, const std::string& path, const SaveOptions& options, SourceLocation where) {
  io::check(options.names, where);
  if (options.type != StoredType::kF16 && options.type != StoredType::kBF16 && options.type != StoredType::kF32) {
    throw Error(std::string("[save] elements are written as f16, bf16 or f32, not as ") + to_string(options.type) +
                " (at " + to_string(where) + ")");
  }
  const ModelTensors model = io::model_tensors(visit);
  std::vector<TensorToWrite> tensors;
  for (const ModelTensor& each : model.tensors) {
    const io::Renamed to = io::to_file(options.names, each.names.front());
    const std::span<const std::int64_t> dims = each.tensor.shape(where).dims();
    std::vector<std::int64_t> shape(dims.begin(), dims.end());
    if (to.transpose && shape.size() != 2) {
      throw Error("[save] '" + each.names.front() + "' is turned by its name, and is no matrix: " +
                  each.tensor.shape(where).to_string() + " (at " + to_string(where) + ")");
    }
    if (to.transpose) std::swap(shape[0], shape[1]);
    tensors.push_back({options.prefix + to.name, options.type, shape, [&, to](const AppendBytes& append) {
                         io::write_elements(each.tensor, options.type, to.transpose, append, where);
                       }});
  }
  for (const io::ModelCounter& each : model.counters) {
    tensors.push_back({options.prefix + io::to_file(options.names, each.name).name,
                       StoredType::kI64,
                       {},
                       [&](const AppendBytes& append) { append(each.value, sizeof *each.value); }});
  }
  write_tensors(path, tensors, options.metadata, where);
}

}  // namespace detail
}  // namespace tidemark
