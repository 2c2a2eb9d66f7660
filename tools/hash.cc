#include "tools/hash.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "tidemark/op.h"

namespace tidemark::tools {
namespace {

constexpr std::uint64_t kPrime = 0x9FB21C651E98DF25u;

// Four lanes, so that a core is limited by memory and not by the latency of a multiplication.
class Hasher {
 public:
  void add(const std::byte* bytes, std::size_t count) {
    constexpr std::size_t kBlock = 8 * kLanes;
    std::size_t at = 0;
    for (; at + kBlock <= count; at += kBlock) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        std::uint64_t word;
        std::memcpy(&word, bytes + at + 8 * lane, 8);
        lanes_[lane] = step(lanes_[lane], word);
      }
    }
    for (; at < count; at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes + at, std::min<std::size_t>(8, count - at));
      lanes_[0] = step(lanes_[0], word);
    }
    lanes_[1] = step(lanes_[1], count);
  }
  std::uint64_t result() const {
    std::uint64_t hash = 0;
    for (const std::uint64_t lane : lanes_) hash = step(hash, lane);
    return hash ^ (hash >> 32);
  }

 private:
  static constexpr std::size_t kLanes = 4;
  static std::uint64_t step(std::uint64_t state, std::uint64_t word) {
    const std::uint64_t mixed = (state ^ word) * kPrime;
    return std::rotl(mixed, 29) + 0x2545F4914F6CDD1Du;
  }
  std::array<std::uint64_t, kLanes> lanes_{1, 2, 3, 4};
};

struct HashBits {
  static constexpr std::string_view name = "hash_bits";

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared;
    prepared.outputs = {Meta::plain({2}, i32)};
    prepared.input_layouts.assign(in.size(), Layout{});
    for (const Meta& meta : in) prepared.work.bytes += static_cast<double>(meta.bytes);
    return prepared;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    Hasher hasher;
    for (const Buf& buf : in) {
      hasher.add(buf.as<std::byte>(), static_cast<std::size_t>(buf.numel() * size_of(buf.meta->dtype)));
    }
    const std::uint64_t hash = hasher.result();
    std::memcpy(out[0].data, &hash, sizeof hash);
  }
};

}  // namespace

std::uint64_t hash_bits(std::span<const Tensor> tensors, SourceLocation where) {
  const NoGrad no_grad;
  const std::vector<std::int32_t> words =
      apply_all(any_op(HashBits{}), tensors, where).front().to_vector<std::int32_t>(where);
  std::uint64_t hash = 0;
  std::memcpy(&hash, words.data(), sizeof hash);
  return hash;
}

std::string to_hex(std::uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace tidemark::tools
