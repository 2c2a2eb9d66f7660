#include "io/safetensors.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/printable.h"

namespace tidemark::io {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kSizeBytes = 8;

std::optional<StoredType> type_named(std::string_view name) {
  for (auto type = StoredType::kBool;; type = static_cast<StoredType>(static_cast<int>(type) + 1)) {
    if (safetensors_name(type) == name) return type;
    if (type == StoredType::kU64) return std::nullopt;
  }
}

// Goes through the header and tells how far it is.
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  Cursor operator++(int) {
    const Cursor before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Cursor& a, const Cursor& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// Takes the header's parts as the parser comes to them, and refuses the first that does not belong where it is.
class Header : public nlohmann::json_sax<Json> {
 public:
  Header(const File& file, const core::Bytes& text, FileMetadata& metadata)
      : file_(file),
        begin_(reinterpret_cast<const char*>(text.data())),
        end_(begin_ + text.size()),
        reached_(begin_),
        data_(kSizeBytes + std::ssize(text)),
        metadata_(metadata) {}

  void parse() {
    Json::sax_parse(Cursor(begin_, &reached_), Cursor(end_, &reached_), this);
    // To the parser a zero byte is the end.
    if (reached_ != end_ || end_[-1] == 0) fail("a byte that is no space follows the header's JSON");
  }
  // Each with the place of its name in the file.
  std::vector<FileTensor> tensors;
  std::vector<std::int64_t> places;

  bool null() override { return unexpected(); }
  bool boolean(bool /*value*/) override { return unexpected(); }
  bool number_integer(std::int64_t /*value*/) override { return unexpected(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return unexpected(); }
  bool binary(Json::binary_t& /*value*/) override { return unexpected(); }
  bool number_unsigned(std::uint64_t value) override {
    if (next_ != Next::kDim && next_ != Next::kEnd) return unexpected();
    if (value > std::numeric_limits<std::int64_t>::max()) fail(absl::StrCat(value, " is too large"));
    const auto number = static_cast<std::int64_t>(value);
    if (next_ == Next::kDim) {
      auto& shape = tensors.back().shape;
      if (shape.size() == kMostDims) fail(absl::StrCat("has more than ", kMostDims, " dimensions"));
      shape.push_back(number);
    } else {
      if (ends_.size() == 2) return unexpected();
      ends_.push_back(number);
    }
    return true;
  }
  bool string(std::string& value) override {
    if (next_ == Next::kText) {
      text_->second = std::move(value);
    } else if (next_ == Next::kType) {
      const std::optional<StoredType> type = type_named(value);
      if (!type)
        fail(absl::StrCat("is of the unknown type ", in_quotes(value),
                          "; BOOL, U8 to U64, I8 to I64, F8_E4M3, "
                          "F8_E5M2, F16, BF16, F32 and F64 are read"));
      tensors.back().type = *type;
    } else {
      return unexpected();
    }
    return true;
  }
  bool start_object(std::size_t /*size*/) override {
    if (next_ != Next::kHeader && next_ != Next::kTensor && next_ != Next::kMetadata) return unexpected();
    inside_ = next_;
    next_ = Next::kNothing;
    return true;
  }
  bool end_object() override {
    if (inside_ == Next::kTensor) check_tensor();
    inside_ = inside_ == Next::kHeader ? Next::kNothing : Next::kHeader;
    next_ = Next::kNothing;
    return true;
  }
  bool start_array(std::size_t /*size*/) override {
    if (next_ != Next::kShape && next_ != Next::kEnds) return unexpected();
    next_ = next_ == Next::kShape ? Next::kDim : Next::kEnd;
    return true;
  }
  bool end_array() override {
    if (next_ == Next::kEnd && ends_.size() != 2) fail("data_offsets should be two numbers, where it begins and ends");
    next_ = Next::kNothing;
    return true;
  }
  bool key(std::string& name) override {
    if (inside_ == Next::kTensor) {
      field(name);
    } else if (inside_ == Next::kMetadata) {
      require_room();
      const auto [text, added] = metadata_.try_emplace(name);
      if (!added) fail(absl::StrCat("the key ", in_quotes(name), " is there twice"));
      text_ = text;
      next_ = Next::kText;
    } else if (name == "__metadata__") {
      if (metadata_seen_) fail("the key '__metadata__' is there twice");
      metadata_seen_ = true;
      next_ = Next::kMetadata;
    } else {
      require_room();
      tensors.emplace_back().name = std::move(name);
      places.push_back(position());
      ends_.clear();
      fields_ = 0;
      next_ = Next::kTensor;
    }
    return true;
  }
  bool parse_error(std::size_t /*at*/, const std::string& /*token*/, const nlohmann::detail::exception& why) override {
    const std::string text = core::printable_text(why.what());
    const std::size_t detail = text.rfind("syntax error");
    fail(absl::StrCat("the header is not valid JSON in UTF-8: ",
                      text.substr(detail == std::string::npos ? 0 : detail, 200)));
  }

 private:
  // What the parser has to bring, or is inside of.
  enum class Next { kNothing, kHeader, kTensor, kMetadata, kText, kType, kShape, kDim, kEnds, kEnd };

  // Of the byte that was read last.
  std::int64_t position() const { return kSizeBytes + std::max<std::int64_t>(reached_ - begin_ - 1, 0); }
  [[noreturn]] void fail(const std::string& what) const {
    if (inside_ == Next::kTensor || next_ == Next::kTensor) {
      file_.fail(position(), absl::StrCat("tensor ", in_quotes(tensors.back().name), ": ", what));
    }
    file_.fail(position(), inside_ == Next::kMetadata ? absl::StrCat("__metadata__: ", what) : what);
  }
  [[noreturn]] bool unexpected() const {
    switch (next_) {
      case Next::kTensor:
        fail("should be an object with dtype, shape and data_offsets");
      case Next::kMetadata:
        fail("__metadata__ should be an object of texts");
      case Next::kText:
        fail(absl::StrCat("the value of ", in_quotes(text_->first), " should be a text"));
      case Next::kType:
        fail("dtype should be a text");
      case Next::kShape:
      case Next::kDim:
        fail("shape should be a list of whole numbers, none below 0");
      case Next::kEnds:
      case Next::kEnd:
        fail("data_offsets should be a list of two whole numbers, none below 0");
      default:
        fail("the header should be one object");
    }
  }
  void require_room() const {
    if (tensors.size() + metadata_.size() >= kMostNames) fail(absl::StrCat("holds more than ", kMostNames, " names"));
  }
  void field(const std::string& name) {
    constexpr std::pair<std::string_view, Next> kFields[] = {
        {"dtype", Next::kType}, {"shape", Next::kShape}, {"data_offsets", Next::kEnds}};
    for (unsigned i = 0; i < std::size(kFields); ++i) {
      if (kFields[i].first != name) continue;
      if ((fields_ >> i & 1U) != 0) fail(absl::StrCat("the key ", in_quotes(name), " is there twice"));
      fields_ |= 1U << i;
      next_ = kFields[i].second;
      return;
    }
    fail(absl::StrCat("has the unknown field ", in_quotes(name), "; there should be dtype, shape and data_offsets"));
  }
  void check_tensor() {
    if (fields_ != 7) fail("should have dtype, shape and data_offsets");
    FileTensor& tensor = tensors.back();
    const std::int64_t room = file_.size() - data_;
    if (ends_[0] > ends_[1]) fail(absl::StrCat("begins at ", ends_[0], " and ends before that, at ", ends_[1]));
    if (ends_[1] > room) {
      fail(absl::StrCat("ends at byte ", ends_[1], " of the data, of which the file has ", room));
    }
    const std::int64_t size = size_of(tensor.type);
    const std::optional<std::int64_t> elements = count_elements(tensor.shape, size);
    if (!elements) fail(absl::StrCat("the shape ", shape_text(tensor.shape), " is beyond 4 PiB"));
    if (*elements * size != ends_[1] - ends_[0]) {
      fail(absl::StrCat("the shape ", shape_text(tensor.shape), " of ", safetensors_name(tensor.type), " takes ",
                        *elements * size, " bytes, but data_offsets give it ", ends_[1] - ends_[0]));
    }
    tensor.elements = *elements;
    tensor.bytes = ends_[1] - ends_[0];
    tensor.offset = data_ + ends_[0];
  }

  const File& file_;
  const char* begin_;
  const char* end_;
  const char* reached_;
  std::int64_t data_;  // where the tensors' bytes begin
  FileMetadata& metadata_;
  bool metadata_seen_ = false;
  Next next_ = Next::kHeader;
  Next inside_ = Next::kNothing;
  FileMetadata::iterator text_;     // that is to come
  std::vector<std::int64_t> ends_;  // of the tensor at hand
  unsigned fields_ = 0;             // that it has, as bits
};

void check_bytes(const File& file, std::int64_t data, const std::vector<FileTensor>& tensors) {
  std::int64_t end = data;
  const FileTensor* before = nullptr;
  for (const FileTensor& tensor : tensors) {
    if (tensor.offset > end) {
      file.fail(end,
                absl::StrCat(tensor.offset - end, " bytes before tensor ", in_quotes(tensor.name), " belong to none"));
    }
    if (tensor.offset < end) {
      file.fail(tensor.offset,
                absl::StrCat("tensor ", in_quotes(tensor.name), " begins within tensor ", in_quotes(before->name)));
    }
    end = tensor.offset + tensor.bytes;
    before = &tensor;
  }
  if (end != file.size())
    file.fail(end, absl::StrCat(file.size() - end, " bytes after the last tensor belong to none"));
}

}  // namespace

std::string safetensors_name(StoredType type) { return absl::AsciiStrToUpper(to_string(type)); }

Contents read_safetensors(const File& file) {
  std::uint8_t bytes[kSizeBytes];
  file.read(0, kSizeBytes, bytes);
  const auto size = little_endian<std::uint64_t>(bytes);
  if (size > kMostHeader) {
    file.fail(0, absl::StrCat("a header of ", size, " bytes; safetensors allow ", kMostHeader));
  }
  if (static_cast<std::int64_t>(size) > file.size() - kSizeBytes) {
    file.fail(0,
              absl::StrCat("a header of ", size, " bytes, but the file has ", file.size(), " in all: it is cut off"));
  }
  core::Bytes text(static_cast<std::size_t>(size));
  file.read(kSizeBytes, std::ssize(text), text.data());
  if (text.empty() || text[0] != '{') file.fail(kSizeBytes, "the header does not begin with '{'");
  Contents contents;
  Header header(file, text, contents.metadata);
  header.parse();
  if (const auto twin = find_twin(header.tensors, by_name(header.tensors))) {
    file.fail(header.places[*twin], absl::StrCat("tensor ", in_quotes(header.tensors[*twin].name), " is there twice"));
  }
  contents.tensors = std::move(header.tensors);
  std::stable_sort(contents.tensors.begin(), contents.tensors.end(), [](const FileTensor& a, const FileTensor& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  check_bytes(file, kSizeBytes + std::ssize(text), contents.tensors);
  for (const FileTensor& tensor : contents.tensors) {
    contents.stored.push_back(
        {.extent = {.offset = tensor.offset, .packed = tensor.bytes, .size = tensor.bytes, .crc = {}}});
  }
  return contents;
}

}  // namespace tidemark::io
