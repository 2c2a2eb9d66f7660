#include "tests/golden/golden.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <set>
#include <span>
#include <sstream>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

// A line of a file: "ROLE NAME SHAPE BITS...".
struct Line {
  std::string role;
  std::string name;
  Shape shape;
  std::vector<std::uint32_t> bits;

  std::vector<float> floats() const {
    std::vector<float> out;
    for (const std::uint32_t word : bits) out.push_back(std::bit_cast<float>(word));
    return out;
  }
};

using Case = std::vector<Line>;

std::map<std::string, Case> read_family(const std::string& family) {
  std::ifstream file(std::string(TIDEMARK_GOLDEN_DIR) + "/" + family + ".txt");
  EXPECT_TRUE(file.good()) << family;
  std::map<std::string, Case> cases;
  Case* current = nullptr;
  for (std::string text; std::getline(file, text);) {
    std::istringstream words(text);
    Line line;
    std::string shape;
    words >> line.role >> line.name >> shape;
    if (line.role == "case") {
      current = &cases[line.name];
      continue;
    }
    std::vector<std::int64_t> dims;
    std::istringstream sizes(shape == "-" ? "" : shape);
    for (std::string size; std::getline(sizes, size, ',');) dims.push_back(std::stoll(size));
    line.shape = Shape(dims);
    for (std::string word; words >> word;) {
      line.bits.push_back(static_cast<std::uint32_t>(std::stoul(word, nullptr, 16)));
    }
    EXPECT_EQ(static_cast<std::int64_t>(line.bits.size()), line.shape.numel());
    if (current != nullptr) current->push_back(std::move(line));
  }
  return cases;
}

void expect_close(const Tensor& actual, const Line& expected, const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape) << what;
  const std::vector<float> a = actual.to_vector();
  const std::vector<float> b = expected.floats();
  float largest = 0;
  for (const float value : b) largest = std::isfinite(value) ? std::max(largest, std::fabs(value)) : largest;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(b[i])) {
      EXPECT_TRUE(std::isnan(a[i])) << what << ", " << i << ": " << a[i];
    } else if (std::isinf(b[i])) {
      EXPECT_EQ(a[i], b[i]) << what << ", " << i;
    } else {
      EXPECT_NEAR(a[i], b[i], 1e-5f * std::max(largest, 0.1f)) << what << ", " << i;
    }
  }
}

void check(const Case& lines, const Function& function) {
  Session session({.threads = 2});
  Inputs inputs;
  std::map<std::string, Tensor> by_name;
  Tensor weight;
  for (const Line& line : lines) {
    if (line.role == "weight") weight = tensor(line.floats(), line.shape);
    if (line.role == "int") {
      const std::vector<std::int32_t> values(line.bits.begin(), line.bits.end());
      inputs.push_back(tensor(values, line.shape));
    } else if (line.role == "byte") {
      const std::vector<std::uint8_t> values(line.bits.begin(), line.bits.end());
      inputs.push_back(zeros(line.shape, u8));
      inputs.back().assign(std::span<const std::uint8_t>(values));
    } else if (line.role == "var" || line.role == "in") {
      inputs.push_back(tensor(line.floats(), line.shape));
    } else {
      continue;
    }
    if (line.role == "var") inputs.back().set_requires_grad(true);
    by_name[line.name] = inputs.back();
  }
  const Tensor y = function(inputs);
  if (weight.defined()) sum(y * weight).backward({.retain_graph = true});
  for (const Line& line : lines) {
    if (line.role == "out") expect_close(y, line, "value");
    if (line.role == "out_int") {
      ASSERT_EQ(y.shape(), line.shape);
      EXPECT_EQ(y.to_vector<std::int64_t>(), std::vector<std::int64_t>(line.bits.begin(), line.bits.end()));
    }
    if (line.role == "grad") expect_close(by_name.at(line.name).grad(), line, "gradient of " + line.name);
    if (line.role == "state") expect_close(by_name.at(line.name), line, line.name);
  }
}

}  // namespace

void check_family(const std::string& family, const std::map<std::string, Function>& functions) {
  const std::map<std::string, Case> cases = read_family(family);
  std::set<std::string> named;
  std::set<std::string> written;
  for (const auto& [name, function] : functions) named.insert(name);
  for (const auto& [name, lines] : cases) written.insert(name);
  ASSERT_EQ(named, written);
  for (const auto& [name, lines] : cases) {
    SCOPED_TRACE(family + " " + name);
    check(lines, functions.at(name));
  }
}

}  // namespace tidemark::test
