#include "report/sweep_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/input_file.h"
#include "core/output_file.h"
#include "core/printable.h"
#include "tidemark/error.h"

namespace tidemark {
namespace report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
constexpr int kVersion = 1;

// 64 bits are more than a number in JSON holds everywhere.
std::string hex(std::uint64_t bits) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(bits));
  return text;
}
std::uint64_t bits(const Json& text) { return std::stoull(text.get<std::string>(), nullptr, 16); }

Json to_json(const SweepRun& run) {
  Json ops = Json::array();
  std::vector<std::uint64_t> signatures;
  for (const auto& [signature, op] : run.ops) signatures.push_back(signature);
  std::sort(signatures.begin(), signatures.end());
  for (const std::uint64_t each : signatures) {
    ops.push_back({hex(each), run.ops.at(each).again, run.ops.at(each).seconds});
  }
  return {{"seconds", run.seconds},
          {"peak_bytes", run.peak_bytes},
          {"reserved_bytes", run.reserved_bytes},
          {"fixed_bytes", run.fixed_bytes},
          {"rss_peak_bytes", run.rss_peak_bytes},
          {"recomputed_ops", run.recomputed_ops},
          {"recompute_seconds", run.recompute_seconds},
          {"moved_bytes", run.moved_bytes},
          {"plan_seconds", run.plan_seconds},
          {"plan_cost", run.plan_cost},
          {"plan_bound", run.plan_bound},
          {"planned", run.planned},
          {"loss_hash", hex(run.loss_hash)},
          {"gradient_hash", hex(run.gradient_hash)},
          {"weight_hash", hex(run.weight_hash)},
          {"ops", std::move(ops)}};
}

SweepRun from_json(const Json& json) {
  SweepRun run;
  json.at("seconds").get_to(run.seconds);
  json.at("peak_bytes").get_to(run.peak_bytes);
  json.at("reserved_bytes").get_to(run.reserved_bytes);
  json.at("fixed_bytes").get_to(run.fixed_bytes);
  json.at("rss_peak_bytes").get_to(run.rss_peak_bytes);
  json.at("recomputed_ops").get_to(run.recomputed_ops);
  json.at("recompute_seconds").get_to(run.recompute_seconds);
  json.at("moved_bytes").get_to(run.moved_bytes);
  json.at("plan_seconds").get_to(run.plan_seconds);
  json.at("plan_cost").get_to(run.plan_cost);
  json.at("plan_bound").get_to(run.plan_bound);
  json.at("planned").get_to(run.planned);
  run.loss_hash = bits(json.at("loss_hash"));
  run.gradient_hash = bits(json.at("gradient_hash"));
  run.weight_hash = bits(json.at("weight_hash"));
  for (const Json& op : json.at("ops")) {
    run.ops[bits(op.at(0))] = {op.at(1).get<std::int64_t>(), op.at(2).get<double>()};
  }
  return run;
}

Json costs_to_json(const Costs& costs) {
  std::vector<std::pair<std::uint64_t, double>> measured(costs.measured.begin(), costs.measured.end());
  std::sort(measured.begin(), measured.end());
  Json ops = Json::array();
  for (const auto& [signature, seconds] : measured) ops.push_back({hex(signature), seconds});
  return {{"seconds_per_call", costs.seconds_per_call},
          {"seconds_per_flop", costs.seconds_per_flop},
          {"seconds_per_byte", costs.seconds_per_byte},
          {"ops", std::move(ops)}};
}

Costs costs_from_json(const Json& json) {
  Costs costs;
  json.at("seconds_per_call").get_to(costs.seconds_per_call);
  json.at("seconds_per_flop").get_to(costs.seconds_per_flop);
  json.at("seconds_per_byte").get_to(costs.seconds_per_byte);
  for (const Json& op : json.at("ops")) costs.measured[bits(op.at(0))] = op.at(1).get<double>();
  return costs;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Of each op, from the runs without a budget.
std::unordered_map<std::uint64_t, double> op_seconds(const SweepPoint& point) {
  std::unordered_map<std::uint64_t, std::vector<double>> times;
  for (const SweepRun& run : point.runs) {
    for (const auto& [signature, op] : run.ops) times[signature].push_back(op.seconds);
  }
  std::unordered_map<std::uint64_t, double> result;
  for (auto& [signature, each] : times) result[signature] = median(std::move(each));
  return result;
}

// What a move copies a second: it reads and writes each byte.
constexpr double kSecondsPerMovedByte = 2.0 / 20e9;

}  // namespace

std::string run_to_json(const SweepRun& run) { return to_json(run).dump(); }
SweepRun run_from_json(const std::string& text) { return from_json(Json::parse(text)); }

void summarize(Sweep& sweep) {
  const SweepPoint* plain = nullptr;
  for (SweepPoint& point : sweep.points) {
    std::vector<double> medians;
    for (const SweepRun& run : point.runs) medians.push_back(median(run.seconds));
    point.seconds = median(medians);
    if (medians.empty()) continue;
    const auto [low, high] = std::minmax_element(medians.begin(), medians.end());
    point.spread = point.seconds > 0 ? (*high - *low) / point.seconds : 0;
    if (!point.budget) plain = &point;
  }
  if (plain == nullptr || plain->runs.empty()) return;
  const std::unordered_map<std::uint64_t, double> times = op_seconds(*plain);
  const SweepRun& first = plain->runs.front();
  for (SweepPoint& point : sweep.points) {
    std::vector<double> extra;
    point.equal = !point.runs.empty();
    double least = 0;
    for (const SweepRun& run : point.runs) {
      point.equal = point.equal && run.loss_hash == first.loss_hash && run.gradient_hash == first.gradient_hash &&
                    run.weight_hash == first.weight_hash;
      double sum = kSecondsPerMovedByte * static_cast<double>(run.moved_bytes);
      for (const auto& [signature, op] : run.ops) {
        const auto known = times.find(signature);
        sum += static_cast<double>(op.again) * (known != times.end() ? known->second : op.seconds);
      }
      extra.push_back(sum);
      least = run.plan_bound;
    }
    if (point.runs.empty()) continue;
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(point.runs.size(), plain->runs.size()); ++i) {
      ratios.push_back(median(point.runs[i].seconds) / median(plain->runs[i].seconds));
    }
    point.extra = median(std::move(ratios)) - 1;
    point.predicted = plain->seconds + median(std::move(extra));
    point.bound = plain->seconds * (1 + least);
  }
}

void write_sweep(const Sweep& sweep, const std::string& path) {
  const SweepOptions& options = sweep.options;
  Json points = Json::array();
  for (const SweepPoint& point : sweep.points) {
    Json runs = Json::array();
    for (const SweepRun& run : point.runs) runs.push_back(to_json(run));
    points.push_back({{"asked", point.asked},
                      {"budget", point.budget ? Json(*point.budget) : Json()},
                      {"refused", point.refused},
                      {"seconds", point.seconds},
                      {"spread", point.spread},
                      {"extra", point.extra},
                      {"predicted", point.predicted},
                      {"bound", point.bound},
                      {"equal", point.equal},
                      {"runs", std::move(runs)}});
  }
  Json peers = Json::array();
  for (const SweepPeer& peer : sweep.peers) {
    peers.push_back({{"name", peer.name},
                     {"settings", peer.settings},
                     {"refused", peer.refused},
                     {"seconds", peer.seconds},
                     {"peak_bytes", peer.peak_bytes}});
  }
  const Json json = {{"format", "tidemark-sweep"},
                     {"version", kVersion},
                     {"name", options.name},
                     {"subject", options.subject},
                     {"budgets", options.budgets},
                     {"rounds", options.rounds},
                     {"steps", options.steps},
                     {"threads", options.threads},
                     {"seed", options.seed},
                     {"costs", options.costs},
                     {"fixed_bytes", sweep.fixed_bytes},
                     {"peak_bytes", sweep.peak_bytes},
                     {"smallest_bytes", sweep.smallest_bytes},
                     {"plan_costs", costs_to_json(sweep.plan_costs)},
                     {"points", std::move(points)},
                     {"peer_options", options.peers},
                     {"peers", std::move(peers)}};
  core::OutputFile file(path);
  file.append(json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  file.publish();
}

}  // namespace report

double SweepPeer::median_seconds() const { return report::median(seconds); }

Sweep read_sweep(const std::string& path) {
  const core::Bytes bytes = core::read_file(path, report::kMostBytes, core::InputFile::Pipes::kRead);
  const auto fail = [&](const std::string& text) { throw FileError(core::printable_name(path) + ": " + text); };
  Sweep sweep;
  try {
    const auto json = report::Json::parse(bytes.begin(), bytes.end());
    if (json.at("format") != "tidemark-sweep") fail("this is no sweep");
    if (json.at("version") != report::kVersion) fail("this is a sweep of another version than 1");
    SweepOptions& options = sweep.options;
    json.at("name").get_to(options.name);
    json.at("subject").get_to(options.subject);
    json.at("budgets").get_to(options.budgets);
    json.at("rounds").get_to(options.rounds);
    json.at("steps").get_to(options.steps);
    json.at("threads").get_to(options.threads);
    json.at("seed").get_to(options.seed);
    json.at("costs").get_to(options.costs);
    options.file = path;
    json.at("fixed_bytes").get_to(sweep.fixed_bytes);
    json.at("peak_bytes").get_to(sweep.peak_bytes);
    json.at("smallest_bytes").get_to(sweep.smallest_bytes);
    sweep.plan_costs = report::costs_from_json(json.at("plan_costs"));
    for (const auto& each : json.at("points")) {
      SweepPoint point;
      each.at("asked").get_to(point.asked);
      if (!each.at("budget").is_null()) point.budget = each.at("budget").get<std::int64_t>();
      each.at("refused").get_to(point.refused);
      for (const auto& run : each.at("runs")) point.runs.push_back(report::from_json(run));
      sweep.points.push_back(std::move(point));
    }
    json.at("peer_options").get_to(options.peers);
    for (const auto& each : json.at("peers")) {
      SweepPeer& peer = sweep.peers.emplace_back();
      each.at("name").get_to(peer.name);
      each.at("settings").get_to(peer.settings);
      each.at("refused").get_to(peer.refused);
      each.at("seconds").get_to(peer.seconds);
      each.at("peak_bytes").get_to(peer.peak_bytes);
    }
  } catch (const nlohmann::json::exception& error) {
    fail(std::string("it cannot be read as a sweep: ") + error.what());
  } catch (const std::logic_error& error) {  // of a hash that is no number
    fail(std::string("it cannot be read as a sweep: ") + error.what());
  }
  report::summarize(sweep);
  return sweep;
}

}  // namespace tidemark
