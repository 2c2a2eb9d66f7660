#include "io/stream.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <vector>

#include "io/elements.h"
#include "tidemark/session.h"

namespace tidemark::io {
namespace {

// Rounded to the nearest, ties to even; what is too large is infinite, and NaN stays one.
std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

std::uint16_t to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // 65520 and more rounds to infinity
  if (magnitude < 0x38800000u) {                        // below 2^-14: steps of 2^-24
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    // Adding 2^23 rounds to a whole number, to even where it is halfway.
    const auto whole = std::bit_cast<std::uint32_t>(scaled + 0x1p23f) - 0x4b000000u;
    return static_cast<std::uint16_t>(sign | whole);
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

void append_as(StoredType type, const float* elements, std::int64_t count, std::vector<std::uint16_t>& buffer,
               const AppendBytes& append) {
  if (type == StoredType::kF32) {
    append(elements, count * std::int64_t{sizeof(float)});
    return;
  }
  buffer.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    buffer[static_cast<std::size_t>(i)] = type == StoredType::kBF16 ? to_bf16(elements[i]) : to_f16(elements[i]);
  }
  append(buffer.data(), count * std::int64_t{sizeof(std::uint16_t)});
}

// Elements that lie open, many of them by a team of threads: memory takes them faster than one can copy. False where
// they do not, or where a read failed: to be read again by who says what is wrong.
bool read_open(const TensorFile& file, const FileTensor& tensor, std::int64_t first, std::int64_t count, float* to,
               int threads) {
  const Place place = float_placer(tensor.type, false);
  if (!lies_open(file, tensor) || (place == nullptr && tensor.type != StoredType::kF32)) return false;
  const std::int64_t size = size_of(tensor.type);
  constexpr std::int64_t kPiece = kChunk / 4;  // what is converted stays in a core's own cache
  const std::int64_t pieces = (count + kPiece - 1) / kPiece;
  std::atomic<bool> whole = true;
  const int team = count < kChunk ? 1 : threads;
#pragma omp parallel num_threads(team)
  {
    std::array<std::uint8_t, kPiece * 2> buffer;  // of 16-bit elements; 64-bit ones take several turns
#pragma omp for schedule(static)
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      const std::int64_t end = std::min(count, (piece + 1) * kPiece);
      for (std::int64_t at = piece * kPiece; at < end && whole;) {
        const std::int64_t most = place == nullptr ? end - at : std::min(end - at, std::ssize(buffer) / size);
        auto* const into = place == nullptr ? reinterpret_cast<std::uint8_t*>(to + at) : buffer.data();
        const ssize_t got = ::pread(file.descriptor(), into, static_cast<std::size_t>(most * size),
                                    tensor.offset + (first + at) * size);
        const std::int64_t elements = got / size;
        if (elements < 1) {
          whole = false;
          break;
        }
        if (place != nullptr) place(buffer.data(), elements, reinterpret_cast<std::uint8_t*>(to + at), 1);
        at += elements;
      }
    }
  }
  return whole;
}

// A matrix [rows, columns] of the file to floats as [columns, rows].
void read_transposed(const TensorFile& file, const FileTensor& tensor, float* to, SourceLocation where) {
  const std::int64_t rows = tensor.shape[0];
  const std::int64_t columns = tensor.shape[1];
  if (rows == 0 || columns == 0) return;
  // As many rows as fit in the buffer, or parts of one that is longer.
  const std::int64_t width = std::min(columns, kChunk);
  const std::int64_t height = columns <= kChunk ? std::min(rows, kChunk / columns) : 1;
  std::vector<float> buffer(static_cast<std::size_t>(width * height));
  for (std::int64_t row = 0; row < rows; row += height) {
    const std::int64_t h = std::min(height, rows - row);
    for (std::int64_t column = 0; column < columns; column += width) {
      const std::int64_t w = std::min(width, columns - column);
      file.read_f32(tensor, row * columns + column, h * w, buffer.data(), where);
      for (std::int64_t c = 0; c < w; ++c) {
        for (std::int64_t r = 0; r < h; ++r) {
          to[(column + c) * rows + row + r] = buffer[static_cast<std::size_t>(r * w + c)];
        }
      }
    }
  }
}

}  // namespace

bool lies_open(const TensorFile& file, const FileTensor& tensor) {
  if (tensor.offset < 0) return false;
  std::array<char, 2> head{};  // of a zip file: its sums are checked by who reads an entry from its start to its end
  return ::pread(file.descriptor(), head.data(), head.size(), 0) == std::ssize(head) && head != std::array{'P', 'K'};
}

void read_part(const TensorFile& file, const FileTensor& tensor, bool transpose, std::int64_t first, std::int64_t count,
               std::byte* to, int threads, SourceLocation where, std::mutex* turn) {
  constexpr std::int64_t kSize = sizeof(float);
  auto* elements = reinterpret_cast<float*>(to);
  if (!transpose && read_open(file, tensor, first / kSize, count / kSize, elements, threads)) return;
  const std::unique_lock<std::mutex> mine = turn == nullptr ? std::unique_lock<std::mutex>() : std::unique_lock(*turn);
  if (!transpose) {
    file.read_f32(tensor, first / kSize, count / kSize, elements, where);
  } else if (count == tensor.elements * kSize) {
    read_transposed(file, tensor, elements, where);
  } else {
    std::vector<float> whole(static_cast<std::size_t>(tensor.elements));
    read_transposed(file, tensor, whole.data(), where);
    std::copy_n(whole.begin() + first / kSize, count / kSize, elements);
  }
}

void write_elements(const Tensor& leaf, StoredType type, bool transpose, const AppendBytes& append,
                    SourceLocation where) {
  const std::int64_t count = leaf.numel(where);
  const auto read = [&](std::int64_t first, std::int64_t n, float* to) {
    detail::read_leaf(leaf, first * 4, n * 4, reinterpret_cast<std::byte*>(to), where);
  };
  std::vector<std::uint16_t> converted;
  std::vector<float> buffer(static_cast<std::size_t>(std::min(count, kChunk)));
  if (!transpose) {
    for (std::int64_t first = 0; first < count; first += kChunk) {
      const std::int64_t n = std::min(kChunk, count - first);
      read(first, n, buffer.data());
      append_as(type, buffer.data(), n, converted, append);
    }
    return;
  }
  // Some columns at a time, as many as fit in the buffer.
  const std::int64_t rows = leaf.size(0, where);
  const std::int64_t columns = leaf.size(1, where);
  const std::int64_t width = std::max<std::int64_t>(1, std::min(columns, kChunk / std::max<std::int64_t>(rows, 1)));
  buffer.resize(static_cast<std::size_t>(width * rows));
  std::vector<float> row(static_cast<std::size_t>(width));
  for (std::int64_t column = 0; column < columns; column += width) {
    const std::int64_t w = std::min(width, columns - column);
    for (std::int64_t r = 0; r < rows; ++r) {
      read(r * columns + column, w, row.data());
      for (std::int64_t c = 0; c < w; ++c)
        buffer[static_cast<std::size_t>(c * rows + r)] = row[static_cast<std::size_t>(c)];
    }
    append_as(type, buffer.data(), w * rows, converted, append);
  }
}

}  // namespace tidemark::io
