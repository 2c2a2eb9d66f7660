#include "tools/hash.h"

#include <xxhash.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

#include "tidemark/op.h"

namespace tidemark::tools {
namespace {

using State = std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)>;

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
    const State state(XXH3_createState(), &XXH3_freeState);
    if (!state || XXH3_64bits_reset(state.get()) != XXH_OK) throw std::bad_alloc();
    for (const Buf& buf : in) {
      XXH3_64bits_update(state.get(), buf.data, static_cast<std::size_t>(buf.numel() * size_of(buf.meta->dtype)));
    }
    const std::uint64_t hash = XXH3_64bits_digest(state.get());
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
