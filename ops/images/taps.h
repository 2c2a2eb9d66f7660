// Linear maps of lines in which every element comes from a few neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidemark::ops {

// Element i of the result is the sum of weights[start[i] + k] times element first[i] + k of the line, for all k up to
// start[i + 1] - start[i].
struct Taps {
  std::int64_t in = 0;
  std::vector<std::int64_t> first;
  std::vector<std::int64_t> start = {0};
  std::vector<float> weights;
  bool copies = true;  // every element is one of the line's

  std::int64_t out() const { return static_cast<std::int64_t>(first.size()); }

  // The next element: from `at`, and from the one after it where that counts.
  void add(std::int64_t at, float weight_of_second) {
    first.push_back(at);
    weights.push_back(1 - weight_of_second);
    if (weight_of_second != 0) {
      weights.push_back(weight_of_second);
      copies = false;
    }
    start.push_back(static_cast<std::int64_t>(weights.size()));
  }

  // The map that gradients take. What an element gives goes to neighbours too, as first[i] never falls.
  Taps transposed() const {
    Taps out;
    out.in = this->out();
    out.copies = false;
    out.first.assign(static_cast<std::size_t>(in), 0);
    std::vector<std::int64_t> end(out.first.size(), 0);
    for_each([&](std::int64_t to, std::size_t from, float) {
      if (end[from] == 0) out.first[from] = to;
      end[from] = to + 1;
    });
    for (std::size_t i = 0; i < end.size(); ++i) out.start.push_back(out.start.back() + end[i] - out.first[i]);
    out.weights.assign(static_cast<std::size_t>(out.start.back()), 0.0f);
    for_each([&](std::int64_t to, std::size_t from, float weight) {
      out.weights[static_cast<std::size_t>(out.start[from] + to - out.first[from])] = weight;
    });
    return out;
  }

 private:
  template <class F>
  void for_each(F f) const {
    for (std::size_t i = 0; i < first.size(); ++i) {
      for (std::int64_t k = start[i]; k < start[i + 1]; ++k) {
        f(static_cast<std::int64_t>(i), static_cast<std::size_t>(first[i] + k - start[i]),
          weights[static_cast<std::size_t>(k)]);
      }
    }
  }
};

}  // namespace tidemark::ops
