// Checkpointer: what is saved, and under which names the files of a run are kept.
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>

#include "core/output_file.h"
#include "core/printable.h"
#include "io/checkpoint_file.h"
#include "io/model_tensors.h"
#include "io/restore.h"
#include "tidemark/checkpoint.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

constexpr const char* kOwn = "checkpointer";  // the part that holds the best metric

bool exists(const std::string& file) { return ::access(file.c_str(), F_OK) == 0; }

void rename_file(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) == 0) return;
  throw FileError(to + ": cannot be written: " + from + " cannot be renamed: " + std::strerror(errno));
}

// `to` becomes another name of the file; false where the file system has no such thing.
bool link_file(const std::string& from, const std::string& to) {
  const std::string temporary = to + ".tidemark-link";
  ::unlink(temporary.c_str());
  if (::link(from.c_str(), temporary.c_str()) != 0) return false;
  rename_file(temporary, to);
  ::unlink(temporary.c_str());  // still there where both names led to one file before
  return true;
}

// A checkpoint is there, and nothing of it is damaged.
bool is_whole(const std::string& file, SourceLocation where) {
  if (!exists(file)) return false;
  try {
    (void)io::CheckpointFile(file, where);
  } catch (const FileError&) {
    return false;
  }
  return true;
}

std::string numbered(const std::string& file, int i) { return i == 0 ? file : file + "." + std::to_string(i); }

// Metrics are in the file as {whether there is one, the best}.
detail::CheckpointPart own_part(std::optional<double>& best) {
  return {.name = kOwn,
          .kind = "checkpointer",
          .numbers =
              [&best] {
                return std::vector{best ? 1.0 : 0.0, best.value_or(0)};
              },
          .set_numbers =
              [&best](std::span<const double> n) {
                if (n.size() != 2) throw Error("[resume] the best metric is damaged");
                best = n[0] != 0 ? std::optional(n[1]) : std::nullopt;
              }};
}

// What tells data apart: its sizes, the loader's order, and the content of 512 examples from the first to the last, or
// of all where there are fewer.
std::string identity_of(const data::Loader& loader) {
  const data::Source& source = loader.source();
  const data::LoaderOptions& options = loader.options();
  const std::int64_t x_bytes = source.x_shape().numel() * size_of(source.x_dtype());
  const std::int64_t y_bytes = source.y_shape().numel() * size_of(source.y_dtype());
  std::vector<std::byte> x(static_cast<std::size_t>(x_bytes)), y(static_cast<std::size_t>(y_bytes));
  std::uint64_t sum = 0;
  const std::int64_t size = source.size();
  const std::int64_t samples = std::min<std::int64_t>(size, 512);
  for (std::int64_t i = 0; i < samples; ++i) {
    source.write(samples > 1 ? i * (size - 1) / (samples - 1) : 0, 0, x.data(), y.data());
    for (const auto* bytes : {&x, &y}) sum = XXH3_64bits_withSeed(bytes->data(), bytes->size(), sum);
  }
  char text[32];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum));
  return std::to_string(size) + " examples " + source.x_shape().to_string() + " and " + source.y_shape().to_string() +
         ", batch " + std::to_string(options.batch) + (options.shuffle ? ", shuffled" : "") +
         (options.drop_last ? ", whole batches" : "") + ", seed " + std::to_string(options.seed) + ", content " + text;
}

}  // namespace

namespace detail {

CheckpointPart model_part(std::function<void(nn::Visitor&)> visit) {
  return {.kind = "model",
          .tensors =
              [visit] {
                std::vector<Parameter> tensors;
                for (const io::ModelTensor& each : io::model_tensors(visit).tensors) {
                  tensors.emplace_back(each.tensor, each.names.front());
                }
                return tensors;
              },
          .parameters = [visit] { return nn::detail::parameters(visit); },
          .counters =
              [visit = std::move(visit)] {
                std::vector<std::pair<std::string, std::int64_t*>> counters;
                for (const io::ModelCounter& each : io::model_tensors(visit).counters) {
                  counters.emplace_back(each.name, each.value);
                }
                return counters;
              }};
}

}  // namespace detail

std::string Resumed::text() const {
  std::string text = core::printable_name(file) + ": step " + std::to_string(step);
  for (const std::string& warning : warnings) text += "\nwarning: " + core::printable_text(warning);
  return text;
}

Checkpointer::Checkpointer(std::string file, const CheckpointerOptions& options, SourceLocation where)
    : file_(std::move(file)), options_(options) {
  constexpr int kMost = 1000;
  if (options.keep < 1 || options.keep > kMost) {
    throw Error("[Checkpointer] .keep must be 1 to " + std::to_string(kMost) + ", not " + std::to_string(options.keep) +
                " (at " + to_string(where) + ")");
  }
  core::OutputFile::check(file_);
  // Of a symbolic link, what it leads to is replaced.
  std::error_code none;
  const auto whole = std::filesystem::canonical(file_, none);
  if (!none) file_ = whole.string();
}

Checkpointer& Checkpointer::add_part(std::string_view name, detail::CheckpointPart part, SourceLocation where) {
  part.name = std::string(name);
  const auto same = [&](const detail::CheckpointPart& other) { return other.name == part.name; };
  // Its tensors' names begin with it and a dot.
  if (name.empty() || name == kOwn || name.find_first_of(".:") != std::string_view::npos ||
      std::any_of(parts_.begin(), parts_.end(), same)) {
    throw Error("[Checkpointer] a part of a checkpoint has a name of its own without dots and colons, and '" +
                part.name + "' is none (at " + to_string(where) + ")");
  }
  parts_.push_back(std::move(part));
  return *this;
}

Checkpointer& Checkpointer::add(std::string_view name, optim::Optimizer& optimizer, SourceLocation where) {
  return add_part(
      name,
      {.kind = "optimizer",
       .tensors = [&optimizer] { return optimizer.all_state(); },
       .numbers = [&optimizer] { return optimizer.numbers(); },
       .set_numbers = [&optimizer, where](std::span<const double> n) { optimizer.set_numbers(n, where); },
       .fits = [&optimizer](std::size_t i, std::int64_t bytes) { return optimizer.state_fits(i, bytes); },
       .make = [&optimizer, where](std::size_t i, std::int64_t bytes) { optimizer.make_state(i, bytes, where); }},
      where);
}

Checkpointer& Checkpointer::add(std::string_view name, optim::WeightAverage& average, SourceLocation where) {
  const std::string label(name);
  return add_part(
      name,
      {.kind = "average",
       .tensors = [&average] { return average.state(); },
       .numbers = [&average] { return std::vector{static_cast<double>(average.updates())}; },
       .set_numbers = [&average, where](
                          std::span<const double> n) { average.set_updates(static_cast<std::int64_t>(n[0]), where); },
       .check =
           [&average, label] {
             if (!average.exchanged()) return;
             throw Error("[save] the model has the averages of '" + label + "'; exchange() back first");
           }},
      where);
}

Checkpointer& Checkpointer::add(std::string_view name, data::Loader& loader, SourceLocation where) {
  return add_part(name,
                  {.kind = "data",
                   .identity = identity_of(loader),
                   .numbers =
                       [&loader] {
                         const data::Position at = loader.position();
                         return std::vector{static_cast<double>(at.epoch), static_cast<double>(at.batch)};
                       },
                   .set_numbers =
                       [&loader, where](std::span<const double> n) {
                         loader.seek({static_cast<std::int64_t>(n[0]), static_cast<std::int64_t>(n[1])}, where);
                       }},
                  where);
}

void Checkpointer::save_file(std::optional<double> metric, SourceLocation where) {
  Session& session = Session::current();
  if (session.options().dry_run) return;
  if (const auto name = detail::unused_gradient(session)) {
    throw Error("[save] '" + *name + "' has a gradient that no optimizer has used, and gradients are not saved: " +
                "save after step() (at " + to_string(where) + ")");
  }
  for (const detail::CheckpointPart& part : parts_) {
    if (part.check) part.check();
  }
  const std::optional<double> best = best_;
  const bool is_best = metric && !std::isnan(*metric) &&
                       (!best || (options_.best == optim::Mode::kMin ? *metric < *best : *metric > *best));
  if (is_best) best_ = metric;
  try {
    std::vector<detail::CheckpointPart> parts = parts_;
    parts.push_back(own_part(best_));
    // Whole and on the disk before any of the names changes.
    const std::string fresh = file_ + ".new";
    const io::RunState run = io::run_state(session, parts);
    io::write_checkpoint(fresh, run, parts, where);
    // A damaged one takes the place of no whole one.
    if (options_.keep > 1 && is_whole(file_, where)) {
      for (int i = options_.keep - 1; i > 1; --i) {
        if (exists(numbered(file_, i - 1))) rename_file(numbered(file_, i - 1), numbered(file_, i));
      }
      const std::string last = numbered(file_, 1);
      if (!link_file(file_, last)) rename_file(file_, last);
    }
    if (is_best && !link_file(fresh, file_ + ".best")) io::write_checkpoint(file_ + ".best", run, parts, where);
    rename_file(fresh, file_);
    core::OutputFile::sync_folder(file_);
  } catch (...) {
    best_ = best;
    throw;
  }
}

Resumed Checkpointer::resume_from(const std::string& file, SourceLocation where) {
  const io::CheckpointFile found(file, where);
  std::vector<detail::CheckpointPart> parts = parts_;
  parts.push_back(own_part(best_));
  return io::restore(found, file, parts, where);
}

std::optional<Resumed> Checkpointer::resume(SourceLocation where) {
  if (Session::current().options().dry_run) return std::nullopt;
  std::vector<std::string> damaged;
  for (int i = 0; i < options_.keep; ++i) {
    const std::string file = numbered(file_, i);
    if (!exists(file)) continue;
    std::optional<io::CheckpointFile> found;
    try {
      found.emplace(file, where);
    } catch (const FileError& error) {
      damaged.emplace_back(error.what());
      continue;
    }
    std::vector<detail::CheckpointPart> parts = parts_;
    parts.push_back(own_part(best_));
    Resumed resumed = io::restore(*found, file, parts, where);
    for (std::string& text : damaged) text += "; the checkpoint before it was taken";
    resumed.warnings.insert(resumed.warnings.begin(), damaged.begin(), damaged.end());
    return resumed;
  }
  if (damaged.empty()) return std::nullopt;
  std::string text = "no checkpoint of this run can be read:";
  for (const std::string& each : damaged) text += "\n  " + each;
  throw FileError(text + "\n(at " + to_string(where) + ")");
}

}  // namespace tidemark
