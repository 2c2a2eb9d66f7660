#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "core/printable.h"
#include "loop/rows.h"
#include "loop/text.h"
#include "tidemark/metrics.h"

namespace tidemark::metrics {
namespace {

constexpr const char* kName = "confusion matrix";
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// More columns than this are wider than people's screens.
constexpr std::int64_t kMostColumns = 16;

double part(std::int64_t some, std::int64_t all) {
  return all == 0 ? 0 : static_cast<double>(some) / static_cast<double>(all);
}

std::string figure(double value) {
  if (std::isnan(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(const ConfusionMatrixOptions& options, SourceLocation where) : options_(options) {
  if (options.classes < 1 || options.classes > kMostMatrixClasses) {
    refuse(kName,
           ".classes must be from 1 to " + std::to_string(kMostMatrixClasses) + ", but is " +
               std::to_string(options.classes),
           where);
  }
  reset();
}

// The last column is of the rows that were predicted to be of no class.
std::size_t ConfusionMatrix::place(std::int64_t label, std::int64_t column) const {
  return static_cast<std::size_t>(label * (options_.classes + 1) + column);
}

std::int64_t ConfusionMatrix::checked(std::int64_t label, SourceLocation where) const {
  if (label >= 0 && label < options_.classes) return label;
  refuse(
      kName,
      "there is no class " + std::to_string(label) + "; classes are from 0 to " + std::to_string(options_.classes - 1),
      where);
}

void ConfusionMatrix::update(const Tensor& logits, const Tensor& labels, SourceLocation where) {
  const Rows rows(kName, logits, labels, options_.ignore_index, where);
  if (rows.classes() != options_.classes) {
    throw ShapeError("[metrics] confusion matrix: logits " + logits.shape(where).to_string() + " of " +
                     std::to_string(rows.classes()) + " classes, but the matrix is of " +
                     std::to_string(options_.classes) + " (at " + to_string(where) + ")");
  }
  rows.for_each([&](std::span<const float> row, std::size_t label) {
    const auto first = static_cast<std::int64_t>(std::max_element(row.begin(), row.end()) - row.begin());
    ++counts_[place(static_cast<std::int64_t>(label), has_nan(row) ? options_.classes : first)];
  });
}

std::int64_t ConfusionMatrix::count() const { return std::accumulate(counts_.begin(), counts_.end(), std::int64_t{0}); }

double ConfusionMatrix::value() const {
  const std::int64_t all = count();
  std::int64_t right = 0;
  for (std::int64_t c = 0; c < options_.classes; ++c) right += counts_[place(c, c)];
  return all == 0 ? kNaN : part(right, all);
}

void ConfusionMatrix::reset() {
  counts_.assign(static_cast<std::size_t>(options_.classes * (options_.classes + 1)), 0);
}

std::vector<double> ConfusionMatrix::state() const { return {counts_.begin(), counts_.end()}; }

void ConfusionMatrix::set_state(std::span<const double> state, SourceLocation where) {
  check_state(kName, state, counts_.size(), where);
  std::vector<std::int64_t> counts;
  counts.reserve(state.size());
  for (const double number : state) counts.push_back(count_of(kName, number, where));
  counts_ = std::move(counts);
}

std::int64_t ConfusionMatrix::count(std::int64_t label, std::int64_t predicted, SourceLocation where) const {
  return counts_[place(checked(label, where), checked(predicted, where))];
}

std::int64_t ConfusionMatrix::unpredicted(std::int64_t label, SourceLocation where) const {
  return counts_[place(checked(label, where), options_.classes)];
}

double ConfusionMatrix::Sums::precision() const { return seen() ? part(found, predicted) : kNaN; }
double ConfusionMatrix::Sums::recall() const { return seen() ? part(found, rows) : kNaN; }
// 2 p r / (p + r), which would be 0 / 0 where nothing was found.
double ConfusionMatrix::Sums::f1() const { return seen() ? part(2 * found, predicted + rows) : kNaN; }

std::vector<ConfusionMatrix::Sums> ConfusionMatrix::sums() const {
  std::vector<Sums> sums(static_cast<std::size_t>(options_.classes));
  for (std::int64_t label = 0; label < options_.classes; ++label) {
    Sums& own = sums[static_cast<std::size_t>(label)];
    own.found = counts_[place(label, label)];
    own.rows = counts_[place(label, options_.classes)];
    for (std::int64_t c = 0; c < options_.classes; ++c) {
      own.rows += counts_[place(label, c)];
      sums[static_cast<std::size_t>(c)].predicted += counts_[place(label, c)];
    }
  }
  return sums;
}

double ConfusionMatrix::precision(std::int64_t label, SourceLocation where) const {
  return sums()[static_cast<std::size_t>(checked(label, where))].precision();
}
double ConfusionMatrix::recall(std::int64_t label, SourceLocation where) const {
  return sums()[static_cast<std::size_t>(checked(label, where))].recall();
}
double ConfusionMatrix::f1(std::int64_t label, SourceLocation where) const {
  return sums()[static_cast<std::size_t>(checked(label, where))].f1();
}

double ConfusionMatrix::macro_precision() const { return macro(&Sums::precision); }
double ConfusionMatrix::macro_recall() const { return macro(&Sums::recall); }
double ConfusionMatrix::macro_f1() const { return macro(&Sums::f1); }

double ConfusionMatrix::macro(double (Sums::*figure_of)() const) const {
  RunningMean mean;
  for (const Sums& one : sums()) {
    if (one.seen()) mean.update((one.*figure_of)());
  }
  return mean.value();
}

std::string ConfusionMatrix::table(const std::vector<std::string>& names) const {
  const std::vector<Sums> all = sums();
  const bool matrix = options_.classes <= kMostColumns;
  const auto name_of = [&](std::int64_t c) {
    const auto index = static_cast<std::size_t>(c);
    return index < names.size() && !names[index].empty() ? core::printable_name(names[index]) : std::to_string(c);
  };
  std::vector<std::vector<std::string>> cells{{matrix ? "label \\ predicted" : "label"}};
  if (matrix) {
    for (std::int64_t c = 0; c < options_.classes; ++c) cells[0].push_back(name_of(c));
    cells[0].emplace_back("none");
  }
  for (const char* title : {"rows", "precision", "recall", "F1"}) cells[0].emplace_back(title);
  for (std::int64_t label = 0; label < options_.classes; ++label) {
    std::vector<std::string>& line = cells.emplace_back(std::vector<std::string>{name_of(label)});
    for (std::int64_t c = 0; matrix && c <= options_.classes; ++c) {
      line.push_back(std::to_string(counts_[place(label, c)]));
    }
    const Sums& own = all[static_cast<std::size_t>(label)];
    line.insert(line.end(),
                {std::to_string(own.rows), figure(own.precision()), figure(own.recall()), figure(own.f1())});
  }
  std::vector<std::string>& last = cells.emplace_back(std::vector<std::string>{"macro average"});
  last.resize(cells[0].size() - 4);
  last.insert(last.end(),
              {std::to_string(count()), figure(macro_precision()), figure(macro_recall()), figure(macro_f1())});
  return loop::aligned(cells) + "accuracy " + figure(value()) + "\n";
}

}  // namespace tidemark::metrics
