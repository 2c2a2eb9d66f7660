// einsum, by diagonal, sum, permute, reshape and a product for each operand after the first.
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/products.h"
#include "tidemark/ops/reductions.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace {

// A letter, or a dimension of an ellipsis: below zero, -1 the last of them.
using Label = int;
using Labels = std::vector<Label>;

bool has(const Labels& labels, Label label) { return std::ranges::find(labels, label) != labels.end(); }

// A value whose dimensions have labels, each once.
struct Term {
  Tensor value;
  Labels labels;
};

class Einsum {
 public:
  Einsum(std::string_view equation, std::span<const Tensor> operands, SourceLocation where)
      : equation_(equation), where_(where) {
    std::string text(equation);
    std::erase(text, ' ');
    const std::size_t arrow = text.find("->");
    const std::vector<std::string> sides = split(text.substr(0, arrow));
    if (operands.empty() || sides.size() != operands.size()) {
      fail("it is for " + std::to_string(sides.size()) + " operands, and there are " + std::to_string(operands.size()));
    }
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const Tensor& x = operands[i];
      if (x.dtype(where) != f32) fail(operand(i, x) + " " + to_string(x.dtype(where)) + "; it must be f32");
      terms_.push_back({x, labels_of(sides[i], operand(i, x), x.shape(where).rank())});
      for (std::size_t k = 0; k < terms_[i].labels.size(); ++k) meet(i, k);
    }
    output_ = arrow == std::string::npos ? implicit_output() : explicit_output(text.substr(arrow + 2));
  }

  Tensor run() {
    for (Term& term : terms_) simplify(term);
    Term result = terms_[0];
    sum_out(result, 0);
    for (std::size_t i = 1; i < terms_.size(); ++i) {
      sum_out(terms_[i], i);
      result = product(result, terms_[i], i);
    }
    return ordered(result, output_).value;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw ShapeError("[einsum] \"" + equation_ + "\": " + message + " (at " + to_string(where_) + ")");
  }

  std::string operand(std::size_t i, const Tensor& x) const {
    return "operand " + std::to_string(i) + " is " + x.shape(where_).to_string();
  }

  static std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> out(1);
    for (const char c : text) {
      if (c == ',') {
        out.emplace_back();
      } else {
        out.back() += c;
      }
    }
    return out;
  }

  static std::string name_of(Label label) {
    return label < 0 ? "of the ellipsis" : std::string("'") + static_cast<char>(label) + "'";
  }

  // Letters, and one ellipsis that stands for `covered` dimensions.
  Labels parse(const std::string& text, int covered) const {
    Labels out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        out.push_back(c);
      } else if (text.compare(i, 3, "...") == 0 && text.find("...", i + 1) == std::string::npos) {
        for (int k = covered; k > 0; --k) out.push_back(-k);
        i += 2;
      } else {
        fail(std::string("'") + c + "' at this place of \"" + text +
             "\" has no meaning; letters, one \"...\" an operand, ',' and one \"->\" have");
      }
    }
    return out;
  }

  Labels labels_of(const std::string& text, const std::string& what, int rank) {
    const bool open = text.find("...") != std::string::npos;
    const int letters = static_cast<int>(parse(text, 0).size());
    if (open ? rank < letters : rank != letters) {
      fail(what + ", which \"" + text + "\" with " + std::to_string(letters) + " letters does not fit");
    }
    if (open) {
      ellipsis_ = true;
      covered_ = std::max(covered_, rank - letters);
    }
    return parse(text, rank - letters);
  }

  // Takes note of the size of a label; sizes of 1 go with every other.
  void meet(std::size_t i, std::size_t k) {
    const Label label = terms_[i].labels[k];
    const std::int64_t size = terms_[i].value.size(static_cast<int>(k), where_);
    const auto [at, first] = sizes_.emplace(label, size);
    if (!first && at->second == 1) at->second = size;
    if (size != 1 && size != at->second) {
      fail(operand(i, terms_[i].value) + ", and its dimension " + name_of(label) + " has size " + std::to_string(size) +
           " where it has " + std::to_string(at->second) + " elsewhere");
    }
  }

  // The ellipsis, and then in alphabetical order the letters that occur once.
  Labels implicit_output() const {
    Labels out;
    for (int k = covered_; k > 0; --k) out.push_back(-k);
    for (const auto& [label, size] : sizes_) {
      std::ptrdiff_t times = 0;
      for (const Term& term : terms_) times += std::ranges::count(term.labels, label);
      if (label > 0 && times == 1) out.push_back(label);
    }
    return out;
  }

  Labels explicit_output(const std::string& text) const {
    const bool open = text.find("...") != std::string::npos;
    if (covered_ > 0 && !open) fail("the ellipsis of the operands must be in the output");
    if (open && !ellipsis_) fail("the ellipsis of the output is in no operand");
    Labels out = parse(text, covered_);
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (!sizes_.contains(out[i])) fail("the output's " + name_of(out[i]) + " is in no operand");
      if (std::count(out.begin(), out.end(), out[i]) > 1) fail("the output has " + name_of(out[i]) + " twice");
    }
    if (out.size() > Shape::kMaxRank)
      fail("the output has more than " + std::to_string(Shape::kMaxRank) + " dimensions");
    return out;
  }

  // Diagonals of labels that are there twice, and no dimensions of size 1 that stand for more.
  void simplify(Term& term) const {
    for (std::size_t i = 0; i < term.labels.size();) {
      const Label label = term.labels[i];
      if (term.value.size(static_cast<int>(i), where_) == 1 && sizes_.at(label) != 1) {
        term.value = squeeze(term.value, static_cast<int>(i), where_);
        term.labels.erase(term.labels.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
    for (std::size_t i = 0; i < term.labels.size();) {
      const Label label = term.labels[i];
      const auto again = std::find(term.labels.begin() + static_cast<std::ptrdiff_t>(i) + 1, term.labels.end(), label);
      if (again == term.labels.end()) {
        ++i;
        continue;
      }
      term.value = diagonal(term.value, 0, static_cast<int>(i), static_cast<int>(again - term.labels.begin()), where_);
      term.labels.erase(again);
      term.labels.erase(term.labels.begin() + static_cast<std::ptrdiff_t>(i));
      term.labels.push_back(label);
    }
  }

  bool kept_after(Label label, std::size_t term) const {
    if (has(output_, label)) return true;
    return std::any_of(terms_.begin() + static_cast<std::ptrdiff_t>(term) + 1, terms_.end(),
                       [&](const Term& later) { return has(later.labels, label); });
  }

  // Sums over what neither another operand nor the output has.
  void sum_out(Term& term, std::size_t index) const {
    std::vector<int> dims;
    Labels left;
    for (std::size_t i = 0; i < term.labels.size(); ++i) {
      const Label label = term.labels[i];
      bool needed = has(output_, label);
      for (std::size_t k = 0; k < terms_.size(); ++k) needed = needed || (k != index && has(terms_[k].labels, label));
      if (needed) {
        left.push_back(label);
      } else {
        dims.push_back(static_cast<int>(i));
      }
    }
    if (dims.empty()) return;
    term = {sum(term.value, dims, {}, where_), left};
  }

  Term ordered(const Term& term, const Labels& labels) const {
    if (term.labels == labels) return term;
    std::vector<int> dims;
    for (const Label label : labels) {
      dims.push_back(static_cast<int>(std::ranges::find(term.labels, label) - term.labels.begin()));
    }
    return {permute(term.value, dims, where_), labels};
  }

  std::int64_t count(const Labels& labels) const {
    std::int64_t product = 1;
    for (const Label label : labels) product *= sizes_.at(label);
    return product;
  }

  static Labels joined(std::initializer_list<Labels> parts) {
    Labels out;
    for (const Labels& part : parts) out.insert(out.end(), part.begin(), part.end());
    return out;
  }

  // Matrices of rows and columns for each of the batch, as the term lies where it lies in one of the two ways.
  struct Matrices {
    Tensor value;
    bool transposed = false;
  };
  Matrices matrices(const Term& term, const Labels& batch, const Labels& rows, const Labels& columns,
                    bool rather_transposed) const {
    const bool transposed = term.labels == joined({batch, columns, rows}) &&
                            (rather_transposed || term.labels != joined({batch, rows, columns}));
    const Tensor value =
        ordered(term, transposed ? joined({batch, columns, rows}) : joined({batch, rows, columns})).value;
    const std::int64_t first = count(transposed ? columns : rows);
    const std::int64_t second = count(transposed ? rows : columns);
    const Shape shape = batch.empty() ? Shape({first, second}) : Shape({count(batch), first, second});
    return {reshape(value, shape, where_), transposed};
  }

  Term product(const Term& a, const Term& b, std::size_t index) const {
    Labels batch;
    Labels summed;
    Labels of_a;
    Labels of_b;
    for (const Label label : a.labels) {
      if (!has(b.labels, label)) {
        of_a.push_back(label);
      } else if (kept_after(label, index)) {
        batch.push_back(label);
      } else {
        summed.push_back(label);
      }
    }
    for (const Label label : b.labels) {
      if (!has(a.labels, label)) of_b.push_back(label);
    }
    const Labels labels = joined({batch, of_a, of_b});
    if (labels.size() > Shape::kMaxRank) {
      fail("the product of the first " + std::to_string(index + 1) + " operands would have " +
           std::to_string(labels.size()) + " dimensions; another order of operands may help");
    }
    const Matrices left = matrices(a, batch, of_a, summed, false);
    const Matrices right = matrices(b, batch, summed, of_b, true);
    Tensor value;
    if (batch.empty() && of_a.empty() && of_b.empty() && !summed.empty()) {
      value = dot(reshape(left.value, {-1}, where_), reshape(right.value, {-1}, where_), where_);
    } else if (summed.empty()) {
      const Tensor row = right.transposed ? reshape(right.value, row_shape(right.value), where_) : right.value;
      const Tensor column = left.transposed ? reshape(left.value, row_shape(left.value), where_) : left.value;
      value = mul(column, row, where_);
    } else {
      value = matmul(left.value, right.value, {left.transposed, right.transposed}, where_);
    }
    std::vector<std::int64_t> dims;
    for (const Label label : labels) dims.push_back(sizes_.at(label));
    return {reshape(value, Shape(dims), where_), labels};
  }

  // A column's shape for a row and the other way round.
  Shape row_shape(const Tensor& x) const {
    const Shape& shape = x.shape(where_);
    return shape.with(-1, shape[-2]).with(-2, shape[-1]);
  }

  std::string equation_;
  SourceLocation where_;
  std::vector<Term> terms_;
  std::map<Label, std::int64_t> sizes_;  // by label, letters in alphabetical order
  bool ellipsis_ = false;
  int covered_ = 0;  // dimensions of the longest ellipsis
  Labels output_;
};

}  // namespace

Tensor einsum(std::string_view equation, std::span<const Tensor> operands, SourceLocation where) {
  return Einsum(equation, operands, where).run();
}

}  // namespace tidemark
