// Writing: what all formats check, and which one it is.
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/stored.h"
#include "io/write.h"
#include "tidemark/tensor_file.h"

namespace tidemark {
namespace io {
namespace {

void check(std::span<const TensorToWrite> tensors, SourceLocation where) {
  std::vector<std::string_view> names;
  for (const TensorToWrite& tensor : tensors) {
    const std::string what = absl::StrCat("tensor ", in_quotes(tensor.name));
    if (json_text(tensor.name).empty()) refuse(absl::StrCat(what, ": the name is not UTF-8"), where);
    if (!tensor.write) refuse(absl::StrCat(what, " has no function that gives its elements"), where);
    if (tensor.shape.size() > kMostDims) {
      refuse(absl::StrCat(what, " has ", tensor.shape.size(), " dimensions; files have ", kMostDims, " at most"),
             where);
    }
    if (!count_elements(tensor.shape, size_of(tensor.type))) {
      refuse(absl::StrCat(what, ": the shape ", shape_text(tensor.shape), " is below 0 or beyond 4 PiB"), where);
    }
    names.push_back(tensor.name);
  }
  if (names.size() > kMostNames) {
    refuse(absl::StrCat(names.size(), " tensors; files have ", kMostNames, " at most"), where);
  }
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) refuse(absl::StrCat("two tensors have the name ", in_quotes(*twin)), where);
}

}  // namespace

void refuse(const std::string& what, SourceLocation where) {
  throw Error(absl::StrCat("[write_tensors] ", what, " (at ", to_string(where), ")"));
}

void Appender::append(std::string_view bytes) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  position_ += std::ssize(bytes);
  if (waiting_.size() + bytes.size() > kMost) flush();
  if (bytes.size() > kMost) {
    file_.append(bytes);
  } else {
    waiting_ += bytes;
  }
}

void Appender::append(const TensorToWrite& tensor, std::uint32_t* crc) {
  const std::int64_t size = *count_elements(tensor.shape, size_of(tensor.type)) * size_of(tensor.type);
  std::int64_t left = size;
  const auto wrong = [&](const std::string& how_many) {
    refuse(absl::StrCat("tensor ", in_quotes(tensor.name), " gave ", how_many, " bytes; the shape ",
                        shape_text(tensor.shape), " of ", to_string(tensor.type), " takes ", size),
           where_);
  };
  tensor.write([&](const void* bytes, std::int64_t count) {
    if (count < 0) wrong("a negative number of");
    if (count > left) wrong("more");
    const std::string_view part(static_cast<const char*>(bytes), static_cast<std::size_t>(count));
    if (crc != nullptr) *crc = add_to_crc(*crc, part);
    append(part);
    left -= count;
  });
  if (left > 0) wrong(absl::StrCat(size - left));
}

void Appender::flush() {
  file_.append(waiting_);
  waiting_.clear();
}

}  // namespace io

void write_tensors(const std::string& path, std::span<const TensorToWrite> tensors, const FileMetadata& metadata,
                   SourceLocation where) {
  const bool safetensors = path.ends_with(".safetensors");
  const bool npy = path.ends_with(".npy");
  if (!safetensors && !npy && !path.ends_with(".npz")) {
    io::refuse(absl::StrCat(path, " ends neither in .safetensors nor in .npy or .npz, which tell the format"), where);
  }
  io::check(tensors, where);
  if (!safetensors && !metadata.empty()) {
    io::refuse(absl::StrCat(path, " has no place for metadata; .safetensors has"), where);
  }
  if (npy && tensors.size() != 1) {
    io::refuse(
        absl::StrCat(path, " holds one tensor, and not ", tensors.size(), "; .npz and .safetensors hold several"),
        where);
  }
  core::OutputFile file(path);
  io::Appender to(file, where);
  if (safetensors) {
    io::write_safetensors(to, tensors, metadata);
  } else if (npy) {
    io::write_npy(to, tensors[0]);
  } else {
    io::write_npz(to, tensors);
  }
  to.flush();
  file.publish();
}

}  // namespace tidemark
