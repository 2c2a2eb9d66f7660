// TensorFile: which format it is, and its tensors by name.
#include "tidemark/tensor_file.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/content.h"
#include "io/elements.h"
#include "io/fetch.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "io/stored.h"
#include "io/zip.h"

namespace tidemark {
namespace io {
namespace {

// One array, alone or as an entry of a zip file, which `what` names.
void add_npy(const File& file, Content& content, const Extent& extent, std::string name, const std::string& what,
             Contents& contents) {
  const NpyHeader header = read_npy_header({
      .size = extent.size,
      .read = [&](std::int64_t at, std::int64_t count, std::uint8_t* to) { content.read(extent, 0, at, count, to); },
      .fail =
          [&](std::int64_t at, const std::string& why) {
            if (!extent.deflated) file.fail(extent.offset + at, what + why);
            file.fail(extent.offset, absl::StrCat(what, "byte ", at, " when it is unpacked: ", why));
          },
  });
  // What has one dimension, not counting those of 1, is the same in both orders.
  const auto dims = std::count_if(header.shape.begin(), header.shape.end(), [](std::int64_t dim) { return dim != 1; });
  const Stored stored = {.extent = extent,
                         .start = header.start,
                         .big_endian = header.big_endian && size_of(header.type) > 1,
                         .columns_first = header.columns_first && dims > 1};
  const bool as_read = !extent.deflated && !stored.columns_first && !stored.big_endian;
  contents.stored.push_back(stored);
  contents.tensors.push_back({.name = std::move(name),
                              .type = header.type,
                              .shape = header.shape,
                              .elements = header.elements,
                              .bytes = header.elements * size_of(header.type),
                              .offset = as_read ? extent.offset + stored.start : -1});
}

Contents read_npy(const File& file, Content& content) {
  const Extent whole = {.packed = file.size(), .size = file.size(), .crc = {}};
  Contents contents;
  add_npy(file, content, whole, std::filesystem::path(file.path()).stem().string(), "", contents);
  return contents;
}

Contents read_npz(const File& file, Content& content) {
  constexpr std::string_view kEnding = ".npy";
  Contents contents;
  for (const ZipEntry& entry : read_zip_directory(file)) {
    const std::string quoted = in_quotes(entry.name);
    if (!entry.name.ends_with(kEnding)) {
      file.fail(entry.extent.offset,
                absl::StrCat("entry ", quoted, " is no .npy array; of zip files only those of arrays (.npz) are read"));
    }
    add_npy(file, content, entry.extent, entry.name.substr(0, entry.name.size() - kEnding.size()),
            absl::StrCat("entry ", quoted, ": "), contents);
  }
  if (const auto twin = find_twin(contents.tensors, by_name(contents.tensors))) {
    file.fail(contents.stored[*twin].extent.offset,
              absl::StrCat("entry ", in_quotes(contents.tensors[*twin].name + ".npy"), " is there twice"));
  }
  return contents;
}

Contents read_contents(const File& file, Content& content) {
  std::array<char, 9> head{};
  const std::int64_t known = std::min<std::int64_t>(file.size(), head.size());
  file.read(0, known, head.data());
  const std::string_view begin(head.data(), static_cast<std::size_t>(known));
  if (begin.starts_with(kNpyMagic)) return read_npy(file, content);
  if (begin.starts_with("PK\3\4") || begin.starts_with("PK\5\6")) return read_npz(file, content);
  if (begin.starts_with("PK\7\10")) file.fail(0, "a zip file in several parts; join them");
  if (begin.size() == head.size() && begin.back() == '{') return read_safetensors(file);
  file.fail(0, "is no safetensors file, whose ninth byte is '{', and does not begin as .npy and .npz files do");
}

}  // namespace
}  // namespace io

struct TensorFile::State {
  explicit State(const std::string& path)
      : file(path), content(file), contents(io::read_contents(file, content)), order(io::by_name(contents.tensors)) {}

  // Its index; -1 where there is none.
  std::ptrdiff_t index(std::string_view name) const {
    const auto at = std::lower_bound(order.begin(), order.end(), name, [&](std::uint32_t i, std::string_view wanted) {
      return contents.tensors[i].name < wanted;
    });
    return at != order.end() && contents.tensors[*at].name == name ? std::ptrdiff_t{*at} : -1;
  }
  // The tensor's index. Throws Error where the file has none like it, or not these elements.
  std::size_t require(const FileTensor& tensor, std::int64_t first, std::int64_t count, SourceLocation where) const {
    const std::ptrdiff_t at = index(tensor.name);
    const FileTensor* const own = at < 0 ? nullptr : &contents.tensors[static_cast<std::size_t>(at)];
    if (own == nullptr || own->type != tensor.type || own->shape != tensor.shape) {
      throw Error(absl::StrCat("[tensor_file] ", file.path(), " holds no tensor ", io::in_quotes(tensor.name),
                               " of this type and shape (at ", to_string(where), ")"));
    }
    if (first < 0 || count < 0 || first > own->elements || count > own->elements - first) {
      throw Error(absl::StrCat("[tensor_file] ", count, " elements from ", first, " on, but tensor ",
                               io::in_quotes(tensor.name), " has ", own->elements, " (at ", to_string(where), ")"));
    }
    return static_cast<std::size_t>(at);
  }
  void fetch(std::size_t i, std::int64_t first, std::int64_t count, io::Place place, std::int64_t size, void* to) {
    io::fetch(content, contents.tensors[i], contents.stored[i], first, count, place, size,
              static_cast<std::uint8_t*>(to));
  }

  io::File file;
  io::Content content;
  io::Contents contents;
  std::vector<std::uint32_t> order;  // by name
};

TensorFile::TensorFile(const std::string& path) : state_(std::make_unique<State>(path)) {}
TensorFile::TensorFile(TensorFile&&) noexcept = default;
TensorFile& TensorFile::operator=(TensorFile&&) noexcept = default;
TensorFile::~TensorFile() = default;

TensorFile::State& TensorFile::state() const {
  if (!state_) throw Error("[tensor_file] the file was moved from");
  return *state_;
}

const std::string& TensorFile::path() const { return state().file.path(); }
std::span<const FileTensor> TensorFile::tensors() const { return state().contents.tensors; }
const FileMetadata& TensorFile::metadata() const { return state().contents.metadata; }
int TensorFile::descriptor() const { return state().file.descriptor(); }

const FileTensor* TensorFile::find(std::string_view name) const {
  const std::ptrdiff_t at = state().index(name);
  return at < 0 ? nullptr : &state().contents.tensors[static_cast<std::size_t>(at)];
}

void TensorFile::read(const FileTensor& tensor, std::int64_t first, std::int64_t count, void* elements,
                      SourceLocation where) const {
  const std::size_t i = state().require(tensor, first, count, where);
  if (count == 0) return;
  const io::Stored& stored = state().contents.stored[i];
  const std::int64_t size = size_of(tensor.type);
  if (stored.columns_first || stored.big_endian) {
    state().fetch(i, first, count, io::placer(tensor.type, stored.big_endian), size, elements);
  } else {
    state().content.read(stored.extent, stored.start, stored.start + first * size, count * size, elements);
  }
}

void TensorFile::read_f32(const FileTensor& tensor, std::int64_t first, std::int64_t count, float* elements,
                          SourceLocation where) const {
  if (tensor.type == StoredType::kF32) return read(tensor, first, count, elements, where);
  const std::size_t i = state().require(tensor, first, count, where);
  const io::Place place = io::float_placer(tensor.type, state().contents.stored[i].big_endian);
  if (place == nullptr) {
    throw Error(absl::StrCat("[tensor_file] tensor ", io::in_quotes(tensor.name), " of ", path(), " is of ",
                             to_string(tensor.type), "; as f32 are read f16, bf16, f32 and f64 (at ", to_string(where),
                             ")"));
  }
  if (count > 0) state().fetch(i, first, count, place, sizeof(float), elements);
}

}  // namespace tidemark
