// Graphs and plans as JSON files. What is read is bounded in size and depth before anything is built from it.
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/input_file.h"
#include "core/output_file.h"
#include "core/printable.h"
#include "scheduler/program.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostFileBytes = std::int64_t{64} << 20;
constexpr std::size_t kMostValues = 8'000'000;  // which take up to 100 bytes each
constexpr std::size_t kMostDepth = 8;           // the formats need five

// Builds what is parsed, unless that is too deep or too much, or names a key twice.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(Json& root) : root_(root) {}
  const std::string& error() const { return error_; }

  bool null() override { return add(nullptr) != nullptr; }
  bool boolean(bool value) override { return add(value) != nullptr; }
  bool number_integer(std::int64_t value) override { return add(value) != nullptr; }
  bool number_unsigned(std::uint64_t value) override { return add(value) != nullptr; }
  bool number_float(double value, const std::string& /*text*/) override { return add(value) != nullptr; }
  bool string(std::string& value) override { return add(std::move(value)) != nullptr; }
  bool binary(Json::binary_t& /*value*/) override { return fail("holds binary data"); }
  bool start_object(std::size_t /*size*/) override { return open(Json::object()); }
  bool start_array(std::size_t /*size*/) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& value) override {
    const auto [slot, added] = open_.back()->get_ref<Json::object_t&>().try_emplace(std::move(value));
    if (!added) return fail("names the key \"" + cut(slot->first) + "\" twice in one object");
    slot_ = &slot->second;
    return true;
  }
  bool parse_error(std::size_t /*at*/, const std::string& /*token*/, const nlohmann::detail::exception& why) override {
    return fail("is not valid JSON: " + cut(why.what()));
  }

 private:
  static std::string cut(const std::string& text) {
    return core::printable_text(text.size() > 200 ? text.substr(0, 200) + "..." : text);
  }
  bool fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  template <typename T>
  Json* add(T&& value) {
    if (++values_ > kMostValues) {
      fail("holds more than " + std::to_string(kMostValues) + " values");
      return nullptr;
    }
    Json* place = &root_;
    if (!open_.empty() && open_.back()->is_array()) {
      place = &open_.back()->emplace_back();
    } else if (!open_.empty()) {
      place = slot_;
    }
    *place = std::forward<T>(value);
    return place;
  }
  bool open(Json empty) {
    if (open_.size() == kMostDepth) return fail("is nested deeper than " + std::to_string(kMostDepth) + " levels");
    Json* place = add(std::move(empty));
    if (place == nullptr) return false;
    open_.push_back(place);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  std::vector<Json*> open_;  // the last is the innermost; none of the others grows meanwhile
  Json* slot_ = nullptr;     // of the last key
  std::size_t values_ = 0;
  std::string error_;
};

class Reader {
 public:
  Reader(const std::string& path, const char* format) : path_(path) {
    Builder builder(root_);
    // A pipe will do as well as a file.
    const core::Bytes content = core::read_file(path, kMostFileBytes, core::InputFile::Pipes::kRead);
    if (!Json::sax_parse(content, &builder)) throw FileError(path + ": " + builder.error());
    if (!root_.is_object()) fail("the file", "is not an object");
    if (text(root_, "format", "the file") != format) fail("format", std::string("is not ") + format);
    if (integer(member(root_, "version", "the file"), "version") != 1) fail("version", "is not 1");
  }

  const Json& root() const { return root_; }

  [[noreturn]] void fail(const std::string& where, const std::string& what) const {
    throw FileError(path_ + ": " + where + " " + what);
  }

  const Json& member(const Json& object, const char* key, const std::string& where) const {
    if (!object.is_object()) fail(where, "is not an object");
    const auto found = object.find(key);
    if (found == object.end()) fail(where, std::string("has no \"") + key + "\"");
    return *found;
  }

  const Json& array(const Json& value, const std::string& where) const {
    if (!value.is_array()) fail(where, "is not an array");
    return value;
  }

  const Json& items(const Json& object, const char* key, const std::string& where) const {
    return array(member(object, key, where), where + ", " + key + ",");
  }

  std::int64_t integer(const Json& value, const std::string& where) const {
    constexpr std::int64_t kMost = kUnlimited;
    if (value.is_number_unsigned() && value.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMost)) {
      return static_cast<std::int64_t>(value.get<std::uint64_t>());
    }
    if (value.is_number_integer() && !value.is_number_unsigned() && value.get<std::int64_t>() >= -kMost) {
      return value.get<std::int64_t>();
    }
    if (value.is_number_float()) {
      const double d = value.get<double>();
      if (std::abs(d) <= 0x1p53 && d == std::floor(d)) return static_cast<std::int64_t>(d);
    }
    fail(where, "is not an integer in range");
  }

  std::int32_t id(const Json& value, const std::string& where) const {
    const std::int64_t i = integer(value, where);
    if (i < -1 || i > INT32_MAX) fail(where, "has an id out of range");
    return static_cast<std::int32_t>(i);
  }

  double number(const Json& value, const std::string& where) const {
    if (!value.is_number()) fail(where, "is not a number");
    return value.get<double>();
  }

  std::string text(const Json& object, const char* key, const std::string& where) const {
    const Json& value = member(object, key, where);
    if (!value.is_string()) fail(where + ", " + key + ",", "is not a string");
    return value.get<std::string>();
  }

  std::vector<BufferId> ids(const Json& value, const std::string& where) const {
    std::vector<BufferId> result;
    for (const Json& item : array(value, where)) result.push_back(id(item, where));
    return result;
  }

  // [[a, b], ...]
  template <typename Visit>
  void pairs(const Json& value, const std::string& where, Visit visit) const {
    for (const Json& item : array(value, where)) {
      if (!item.is_array() || item.size() != 2) fail(where, "holds something that is not a pair");
      visit(id(item[0], where), integer(item[1], where));
    }
  }

 private:
  const std::string path_;
  Json root_;
};

bool flag(const Reader& reader, const Json& object, const char* key, const std::string& where) {
  if (!object.contains(key)) return false;
  if (!object[key].is_boolean()) reader.fail(where + ", " + key + ",", "is not true or false");
  return object[key].get<bool>();
}

Op read_op(const Reader& reader, const Json& item, const std::string& where) {
  Op op;
  if (item.is_object() && item.contains("name")) op.name = reader.text(item, "name", where);
  op.cost = reader.number(reader.member(item, "cost", where), where + ", cost,");
  op.reads = reader.ids(reader.member(item, "reads", where), where + ", reads,");
  op.writes = reader.ids(reader.member(item, "writes", where), where + ", writes,");
  if (item.contains("phase")) {
    const std::string phase = reader.text(item, "phase", where);
    if (phase != "forward" && phase != "backward" && phase != "update") {
      reader.fail(where + ", phase,", "is not forward, backward or update");
    }
    op.phase = phase == "forward" ? Phase::kForward : phase == "backward" ? Phase::kBackward : Phase::kUpdate;
  }
  if (item.contains("updates")) op.updates = reader.ids(item["updates"], where + ", updates,");
  if (item.contains("overwrites")) {
    reader.pairs(item["overwrites"], where + ", overwrites,", [&](std::int32_t r, std::int64_t w) {
      if (w < 0 || w > INT32_MAX) reader.fail(where + ", overwrites,", "has an id out of range");
      op.overwrites.emplace_back(r, static_cast<BufferId>(w));
    });
  }
  if (item.contains("scratch")) op.scratch = reader.integer(item["scratch"], where + ", scratch,");
  op.once = flag(reader, item, "once", where);
  if (item.contains("releases")) op.releases = reader.ids(item["releases"], where + ", releases,");
  return op;
}

Step read_step(const Reader& reader, const Json& item, const std::string& where) {
  if (!item.is_array() || item.size() < 2 || item.size() > 4 || !item[0].is_string()) {
    reader.fail(where, "is not [\"run\"|\"drop\"|\"move\", id, ...]");
  }
  const std::string kind = item[0].get<std::string>();
  const std::int32_t id = reader.id(item[1], where);
  if (kind == "drop" && item.size() == 2) return drop_step(id);
  if (kind == "move" && item.size() == 3) return move_step(id, reader.integer(item[2], where));
  if (kind != "run") reader.fail(where, "is not [\"run\"|\"drop\"|\"move\", id, ...]");
  Step step = run_step(id);
  if (item.size() > 2) {
    reader.pairs(item[2], where, [&](BufferId b, std::int64_t offset) { step.places.push_back({b, offset}); });
  }
  if (item.size() > 3) {
    reader.pairs(item[3], where, [&](BufferId r, std::int64_t w) {
      if (w < 0 || w > INT32_MAX) reader.fail(where, "has an id out of range");
      step.overwrites.emplace_back(r, static_cast<BufferId>(w));
    });
  }
  return step;
}

void write(const Json& json, const std::string& path) {
  core::OutputFile file(path);
  file.append(json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
  file.publish();
}

}  // namespace

Graph read_graph(const std::string& path) {
  const Reader reader(path, "tidemark-graph");
  const Json& root = reader.root();
  Graph graph;
  if (root.contains("name")) graph.name = reader.text(root, "name", "the file");
  for (const Json& item : reader.items(root, "buffers", "the file")) {
    const std::string where = "buffer " + std::to_string(graph.buffers.size());
    Buffer buffer;
    buffer.bytes = reader.integer(reader.member(item, "bytes", where), where + ", bytes,");
    if (item.contains("name")) buffer.name = reader.text(item, "name", where);
    buffer.pinned = flag(reader, item, "pinned", where);
    graph.buffers.push_back(std::move(buffer));
  }
  for (const Json& item : reader.items(root, "ops", "the file")) {
    graph.ops.push_back(read_op(reader, item, "op " + std::to_string(graph.ops.size())));
  }
  if (root.contains("keep")) graph.keep = reader.ids(root["keep"], "keep");
  try {
    compile(graph);
  } catch (const Error& error) {
    throw FileError(path + ": " + error.what());
  }
  return graph;
}

void write_graph(const Graph& graph, const std::string& path) {
  Json root{{"format", "tidemark-graph"}, {"version", 1}, {"name", graph.name}};
  Json& buffers = root["buffers"] = Json::array();
  for (const Buffer& buffer : graph.buffers) {
    Json item{{"bytes", buffer.bytes}};
    if (!buffer.name.empty()) item["name"] = buffer.name;
    if (buffer.pinned) item["pinned"] = true;
    buffers.push_back(std::move(item));
  }
  Json& ops = root["ops"] = Json::array();
  static constexpr const char* kPhases[] = {"forward", "backward", "update"};
  for (const Op& op : graph.ops) {
    Json item{{"name", op.name}, {"phase", kPhases[static_cast<int>(op.phase)]}, {"cost", op.cost}};
    item["reads"] = op.reads;
    item["writes"] = op.writes;
    if (!op.updates.empty()) item["updates"] = op.updates;
    for (const auto& [r, w] : op.overwrites) item["overwrites"].push_back(Json::array({r, w}));
    if (op.scratch > 0) item["scratch"] = op.scratch;
    if (op.once) item["once"] = true;
    if (op.releases) item["releases"] = *op.releases;
    ops.push_back(std::move(item));
  }
  if (!graph.keep.empty()) root["keep"] = graph.keep;
  write(root, path);
}

Plan read_plan(const std::string& path) {
  const Reader reader(path, "tidemark-plan");
  const Json& root = reader.root();
  const auto integer = [&](const char* key) { return reader.integer(reader.member(root, key, "the file"), key); };
  const auto number = [&](const char* key) { return reader.number(reader.member(root, key, "the file"), key); };
  Plan plan;
  plan.budget = integer("budget");
  plan.live_peak = integer("live_peak");
  plan.reserved_peak = integer("reserved_peak");
  if (root.contains("moved_bytes")) plan.moved_bytes = integer("moved_bytes");
  plan.cost = number("cost");
  plan.base_cost = number("base_cost");
  plan.lower_bound = number("lower_bound");
  if (root.contains("inputs")) {
    reader.pairs(root["inputs"], "inputs", [&](BufferId b, std::int64_t offset) {
      plan.inputs.push_back({b, offset});
    });
  }
  if (root.contains("residents")) plan.residents = reader.ids(root["residents"], "residents");
  plan.placed = !plan.inputs.empty();
  for (const Json& item : reader.items(root, "steps", "the file")) {
    plan.steps.push_back(read_step(reader, item, "step " + std::to_string(plan.steps.size())));
    plan.placed |= !plan.steps.back().places.empty();
  }
  return plan;
}

void write_plan(const Plan& plan, const std::string& path) {
  Json root{{"format", "tidemark-plan"},
            {"version", 1},
            {"budget", plan.budget},
            {"live_peak", plan.live_peak},
            {"reserved_peak", plan.reserved_peak},
            {"moved_bytes", plan.moved_bytes},
            {"cost", plan.cost},
            {"base_cost", plan.base_cost},
            {"lower_bound", plan.lower_bound}};
  Json& inputs = root["inputs"] = Json::array();
  for (const Placement& p : plan.inputs) inputs.push_back(Json::array({p.buffer, p.offset}));
  if (!plan.residents.empty()) root["residents"] = plan.residents;
  Json& steps = root["steps"] = Json::array();
  for (const Step& step : plan.steps) {
    if (step.kind == Step::Kind::kDrop) {
      steps.push_back(Json::array({"drop", step.id}));
      continue;
    }
    if (step.kind == Step::Kind::kMove) {
      steps.push_back(Json::array({"move", step.id, step.offset}));
      continue;
    }
    Json places = Json::array();
    for (const Placement& p : step.places) places.push_back(Json::array({p.buffer, p.offset}));
    Json item = Json::array({"run", step.id, std::move(places)});
    if (!step.overwrites.empty()) {
      Json pairs = Json::array();
      for (const auto& [r, w] : step.overwrites) pairs.push_back(Json::array({r, w}));
      item.push_back(std::move(pairs));
    }
    steps.push_back(std::move(item));
  }
  write(root, path);
}

}  // namespace tidemark::scheduler
