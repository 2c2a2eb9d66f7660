#include <algorithm>
#include <string>
#include <vector>

#include "tidemark/nn/module.h"

namespace tidemark::nn::detail {
namespace {

// 138357544 as "138,357,544".
std::string grouped(std::int64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

struct Row {
  std::string name, shape, elements, note;
};

struct Rows final : Visitor {
  void on_parameter(const std::string& name, Tensor& tensor) override {
    const bool trained = tensor.requires_grad();
    if (add(name, tensor, trained ? "" : "frozen")) (trained ? trainable : frozen) += tensor.numel();
  }
  void on_state(const std::string& name, Tensor& tensor) override {
    if (add(name, tensor, "buffer")) buffers += tensor.numel();
  }
  // False where it was met before: shared by two children.
  bool add(const std::string& name, const Tensor& tensor, const char* note) {
    if (std::any_of(met.begin(), met.end(), [&](const Tensor& other) { return other.same(tensor); })) return false;
    met.push_back(tensor);
    rows.push_back({name, tensor.shape().to_string(), grouped(tensor.numel()), note});
    return true;
  }

  std::vector<Row> rows = {{"name", "shape", "elements", ""}};
  std::vector<Tensor> met;
  std::int64_t trainable = 0, frozen = 0, buffers = 0;
};

}  // namespace

std::string summary(const Visit& visit) {
  Rows table;
  visit(table);
  std::size_t name = 0, shape = 0, elements = 0;  // widths
  for (const Row& row : table.rows) {
    name = std::max(name, row.name.size());
    shape = std::max(shape, row.shape.size());
    elements = std::max(elements, row.elements.size());
  }
  std::string text;
  for (const Row& row : table.rows) {
    text += row.name + std::string(name - row.name.size() + 2, ' ');
    text += row.shape + std::string(shape - row.shape.size() + 2 + elements - row.elements.size(), ' ');
    text += row.elements + (row.note.empty() ? "" : "  " + row.note) + "\n";
  }
  text += grouped(table.trainable + table.frozen) + " parameters: " + grouped(table.trainable) + " trainable, " +
          grouped(table.frozen) + " frozen";
  if (table.buffers > 0) text += "; " + grouped(table.buffers) + " elements in buffers";
  return text + "\n";
}

}  // namespace tidemark::nn::detail
