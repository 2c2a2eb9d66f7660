#include "io/checkpoint_file.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <unordered_map>

#include "core/output_file.h"
#include "io/write.h"
#include "tidemark/error.h"
#include "tidemark/session.h"

namespace tidemark::io {
namespace {

constexpr const char* kFormat = "tidemark-checkpoint";
constexpr const char* kVersion = "1";
constexpr const char* kChecksums = "checksums";
constexpr std::size_t kBuffer = std::size_t{1} << 20;

std::vector<std::int64_t> dims_of(const Tensor& tensor) {
  const auto dims = tensor.shape().dims();
  return {dims.begin(), dims.end()};
}

// What a checksum is of: the run's text, or a tensor with this name, type and shape.
struct Sum {
  std::uint64_t of = 0;
  std::uint64_t value = 0;
};
static_assert(sizeof(Sum) == 16);

std::uint64_t hash(const void* bytes, std::int64_t count) {
  return XXH3_64bits(bytes, static_cast<std::size_t>(count));
}
std::uint64_t hash(const std::string& text) { return hash(text.data(), std::ssize(text)); }

Sum sum_of_run(const std::string& text) { return {hash(kFormat), hash(text)}; }
std::uint64_t tensor_key(const std::string& name, StoredType type, const std::vector<std::int64_t>& shape) {
  std::string line = name + ' ' + to_string(type);
  for (const std::int64_t dim : shape) line += ' ' + std::to_string(dim);
  return hash(line);
}

// Of bytes as they come.
class Checksum {
 public:
  Checksum() : state_(XXH3_createState(), &XXH3_freeState) {
    if (state_ == nullptr) throw std::bad_alloc();
    XXH3_64bits_reset(state_.get());
  }
  void add(const void* bytes, std::int64_t count) {
    XXH3_64bits_update(state_.get(), bytes, static_cast<std::size_t>(count));
  }
  std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

std::string run_text(const RunState& run) {
  nlohmann::json parts = nlohmann::json::array();
  for (const RunState::Part& part : run.parts) {
    parts.push_back({{"name", part.name}, {"kind", part.kind}, {"identity", part.identity}, {"frozen", part.frozen}});
  }
  return nlohmann::json({{"step", run.step},
                         {"random_ordinal", run.random_ordinal},
                         {"seed", std::to_string(run.seed)},
                         {"threads", run.threads},
                         {"instructions", run.instructions},
                         {"parts", parts}})
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

RunState run_of(const std::string& file, const std::string& text) try {
  const auto json = nlohmann::json::parse(text);
  RunState run{.step = json.at("step").get<std::int64_t>(),
               .random_ordinal = json.at("random_ordinal").get<std::uint32_t>(),
               .seed = std::stoull(json.at("seed").get<std::string>()),
               .threads = json.at("threads").get<int>(),
               .instructions = json.at("instructions").get<std::string>()};
  for (const auto& part : json.at("parts")) {
    run.parts.push_back({part.at("name").get<std::string>(), part.at("kind").get<std::string>(),
                         part.at("identity").get<std::string>(), part.at("frozen").get<std::vector<std::string>>()});
  }
  return run;
} catch (const std::exception& error) {
  throw FileError(file + ": what it says of the run cannot be read: " + error.what());
}

}  // namespace

std::string instructions_here() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") ? "AVX-512"
         : __builtin_cpu_supports("avx2")  ? "AVX2"
                                           : "x86-64 without AVX2";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "another processor";
#endif
}

std::vector<std::pair<std::string, Tensor>> named_tensors(const detail::CheckpointPart& part) {
  std::vector<std::pair<std::string, Tensor>> result;
  if (!part.tensors) return result;
  std::set<std::string> known;
  for (const Parameter& each : part.tensors()) {
    // What is read from a file stays there, and is none of the run's.
    if (each.defined() && detail::has_reader(each)) continue;
    std::string name = part.name + "." + each.name();
    for (int i = 2; !known.insert(name).second; ++i) name = part.name + "." + each.name() + "#" + std::to_string(i);
    result.emplace_back(name, each);
  }
  return result;
}

std::string numbers_name(const std::string& part) { return part + ":numbers"; }

void write_checkpoint(const std::string& file, const RunState& run, const std::vector<detail::CheckpointPart>& parts,
                      SourceLocation where) {
  std::vector<TensorToWrite> tensors;
  std::vector<Sum> sums = {sum_of_run(run_text(run))};
  std::vector<std::vector<double>> numbers;  // as they are now; their addresses stay
  numbers.reserve(parts.size());
  // `read` gives the bytes from `first` on.
  using Read = std::function<void(std::int64_t first, std::int64_t count, std::byte * to)>;
  std::vector<std::byte> buffer(kBuffer);
  const auto add = [&](const std::string& name, StoredType type, const std::vector<std::int64_t>& shape,
                       std::int64_t bytes, const Read& read) {
    const std::size_t index = sums.size();
    sums.push_back({tensor_key(name, type, shape), 0});
    tensors.push_back({name, type, shape, [&sums, &buffer, index, bytes, read](const AppendBytes& append) {
                         Checksum sum;
                         for (std::int64_t first = 0; first < bytes; first += std::ssize(buffer)) {
                           const std::int64_t count = std::min(std::ssize(buffer), bytes - first);
                           read(first, count, buffer.data());
                           sum.add(buffer.data(), count);
                           append(buffer.data(), count);
                         }
                         sums[index].value = sum.value();
                       }});
  };
  const auto add_bytes = [&](const std::string& name, StoredType type, const std::vector<std::int64_t>& shape,
                             const void* from, std::int64_t bytes) {
    add(name, type, shape, bytes, [from](std::int64_t first, std::int64_t count, std::byte* to) {
      std::copy_n(static_cast<const std::byte*>(from) + first, count, to);
    });
  };
  for (const detail::CheckpointPart& part : parts) {
    for (const auto& [name, tensor] : named_tensors(part)) {
      if (!tensor.defined()) continue;
      const StoredType type = tensor.dtype() == u8 ? StoredType::kU8 : StoredType::kF32;
      add(name, type, dims_of(tensor), tensor.numel() * size_of(type),
          [tensor = tensor, where](std::int64_t first, std::int64_t count, std::byte* to) {
            detail::read_leaf(tensor, first, count, to, where);
          });
    }
    if (part.counters) {
      for (const auto& [name, value] : part.counters()) {
        add_bytes(part.name + "." + name, StoredType::kI64, {}, value, sizeof *value);
      }
    }
    if (part.numbers) {
      const std::vector<double>& own = numbers.emplace_back(part.numbers());
      add_bytes(numbers_name(part.name), StoredType::kF64, {std::ssize(own)}, own.data(),
                std::ssize(own) * std::int64_t{sizeof(double)});
    }
  }
  // The writer puts bytes last, and these are the last of them: by then the other sums are known.
  const std::int64_t size = std::ssize(sums) * std::int64_t{sizeof(Sum)};
  tensors.push_back(
      {kChecksums, StoredType::kU8, {size}, [&](const AppendBytes& append) { append(sums.data(), size); }});
  core::OutputFile out(file);
  Appender to(out, where);
  write_safetensors(to, tensors, {{"format", kFormat}, {"version", kVersion}, {"run", run_text(run)}});
  to.flush();
  out.publish();
}

CheckpointFile::CheckpointFile(const std::string& file, SourceLocation where) : tensors_(file) {
  const FileMetadata& about = tensors_.metadata();
  const auto text = [&](const char* name) {
    const auto found = about.find(name);
    return found == about.end() ? std::string() : found->second;
  };
  if (text("format") != kFormat) throw FileError(file + ": it is no checkpoint");
  if (text("version") != kVersion) {
    throw FileError(file + ": it is a checkpoint of version '" + text("version") +
                    "', and this program reads version " + kVersion);
  }
  const FileTensor* table = tensors_.find(kChecksums);
  const auto count = std::ssize(tensors_.tensors());  // the run's, and one of each tensor but the table itself
  if (table == nullptr || table->type != StoredType::kU8 || table->bytes != count * std::int64_t{sizeof(Sum)}) {
    throw FileError(file + ": it has no checksums of its tensors");
  }
  std::vector<Sum> sums(static_cast<std::size_t>(count));
  tensors_.read(*table, 0, table->bytes, sums.data(), where);
  std::unordered_map<std::uint64_t, std::uint64_t> expected;
  for (const Sum& sum : sums) expected[sum.of] = sum.value;
  const auto check = [&](std::uint64_t of, std::uint64_t value, const std::string& what) {
    const auto found = expected.find(of);
    if (found == expected.end() || found->second != value) {
      throw FileError(file + ": " + what + " is damaged: its checksum is another");
    }
  };
  check(sum_of_run(text("run")).of, sum_of_run(text("run")).value, "what it says of the run");
  run_ = run_of(file, text("run"));
  std::vector<std::byte> buffer(kBuffer);
  for (const FileTensor& tensor : tensors_.tensors()) {
    if (&tensor == table) continue;
    check(tensor_key(tensor.name, tensor.type, tensor.shape), hash_of(tensor, buffer, where),
          "tensor '" + tensor.name + "', at byte " + std::to_string(tensor.offset) + ",");
  }
}

std::uint64_t CheckpointFile::hash_of(const FileTensor& tensor, std::span<std::byte> buffer,
                                      SourceLocation where) const {
  Checksum sum;
  const std::int64_t size = size_of(tensor.type);
  const std::int64_t most = std::ssize(buffer) / size;
  for (std::int64_t first = 0; first < tensor.elements; first += most) {
    const std::int64_t count = std::min(most, tensor.elements - first);
    tensors_.read(tensor, first, count, buffer.data(), where);
    sum.add(buffer.data(), count * size);
  }
  return sum.value();
}

std::optional<std::vector<double>> CheckpointFile::numbers(const std::string& part, SourceLocation where) const {
  const FileTensor* tensor = tensors_.find(numbers_name(part));
  if (tensor == nullptr || tensor->type != StoredType::kF64) return std::nullopt;
  std::vector<double> numbers(static_cast<std::size_t>(tensor->elements));
  tensors_.read(*tensor, 0, tensor->elements, numbers.data(), where);
  return numbers;
}

}  // namespace tidemark::io
