// What a trained model is worth: its loss and accuracy on data it has not seen, and the text that it writes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tidemark/data.h"
#include "tidemark/nn.h"

namespace tidemark::tools {

struct Evaluation {
  double loss = 0;
  double accuracy = 0;  // of images, or of single tokens
  std::int64_t targets = 0;
};
// Over all examples, in evaluation mode; the model is in training mode again afterwards.
Evaluation evaluate(nn::Sequential& model, const std::shared_ptr<const data::Source>& source, std::int64_t batch);

// `count` bytes that the model writes after a line's end. Bytes that are not printable ASCII are shown as '?'.
std::string sample_text(nn::Sequential& model, std::int64_t context, std::int64_t count, std::uint64_t seed);

}  // namespace tidemark::tools
