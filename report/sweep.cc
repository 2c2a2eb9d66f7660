#include "tidemark/sweep.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/output_file.h"
#include "core/printable.h"
#include "core/round_up.h"
#include "report/child.h"
#include "report/measure.h"
#include "report/peers.h"
#include "report/sweep_file.h"
#include "tidemark/dry_run.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark {
namespace {

constexpr std::int64_t kUnit = 64;  // budgets are whole units of the arena

void check(const SweepOptions& options, const std::function<SweepSubject()>& program) {
  const auto require = [](bool holds, const std::string& text) {
    if (!holds) throw Error("[sweep] " + text);
  };
  require(program != nullptr, "there is no program: the function is empty");
  require(!options.budgets.empty(), "there are no budgets");
  require(options.rounds >= 1 && options.rounds <= 1000,
          "rounds must be 1 to 1000, not " + std::to_string(options.rounds));
  require(options.steps >= 1 && options.steps <= 1000000,
          "steps must be 1 to 1000000, not " + std::to_string(options.steps));
  require(options.costs == "general" || options.costs == "calibrated" || options.costs == "measured",
          "costs can be general, calibrated or measured, not '" + options.costs + "'");
}

// "40%" -> 0.4
std::optional<double> part_of(const std::string& text) {
  if (text.size() < 2 || text.back() != '%') return std::nullopt;
  char* end = nullptr;
  const double percent = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size() - 1 || !std::isfinite(percent) || percent < 0 || percent > 1000) {
    throw Error("[sweep] a budget of '" + text + "' is no part from 0% to 1000%");
  }
  return percent / 100;
}

std::vector<SweepPoint> points_of(const Sweep& sweep) {
  std::vector<SweepPoint> points;
  const auto add = [&](const std::string& asked, std::optional<std::int64_t> budget) {
    const auto same = [&](const SweepPoint& point) { return point.budget == budget; };
    if (std::none_of(points.begin(), points.end(), same)) points.push_back({.asked = asked, .budget = budget});
  };
  // What all are compared with.
  add("none", std::nullopt);
  for (const std::string& text : sweep.options.budgets) {
    if (text == "none") continue;
    const std::int64_t low = core::round_up(sweep.smallest_bytes, kUnit);
    if (text == "smallest") {
      add(text, low);
    } else if (text == "auto") {
      constexpr int kBetween = 10;
      for (int i = 0; i <= kBetween + 1; ++i) {
        add(i == 0 ? "smallest" : "auto",
            core::round_up(low + (std::max(sweep.peak_bytes, low) - low) * i / (kBetween + 1), kUnit));
      }
    } else {
      add(text, sweep_budget(text, sweep.fixed_bytes, sweep.peak_bytes));
    }
  }
  return points;
}

bool is_there(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0;
}

// A sweep that was begun with the same options, from its file. It may go on for more rounds than it was begun for.
std::optional<Sweep> begun(const SweepOptions& options) {
  if (options.file.empty() || !is_there(options.file)) return std::nullopt;
  Sweep sweep = read_sweep(options.file);
  const SweepOptions& old = sweep.options;
  const auto differs = [&](const char* what) {
    throw FileError(core::printable_name(options.file) + ": the sweep that is there has other " + what +
                    "; name another file, or remove this one");
  };
  if (old.name != options.name || old.subject != options.subject) differs("subjects");
  if (old.budgets != options.budgets) differs("budgets");
  if (old.steps != options.steps) differs("steps");
  if (old.threads != options.threads || old.seed != options.seed) differs("threads or seeds");
  if (old.costs != options.costs) differs("costs");
  if (old.peers != options.peers) differs("peers");
  sweep.options = options;
  return sweep;
}

std::string size_of(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(bytes) / 1048576);
  return text;
}

}  // namespace

std::optional<std::int64_t> sweep_budget(const std::string& text, std::int64_t fixed, std::int64_t peak) {
  if (text == "none") return std::nullopt;
  const auto part = part_of(text);
  if (!part) return parse_bytes(text);
  return fixed + core::round_up(static_cast<std::int64_t>(*part * static_cast<double>(peak - fixed)), kUnit);
}

std::int64_t largest_batch(std::int64_t budget, std::int64_t most, const SessionOptions& options,
                           const std::function<SweepSubject(std::int64_t batch)>& program) {
  const auto fits = [&](std::int64_t batch) {
    // The second step has the optimizer's state. What is said to fit is what a session finds a plan for, too.
    const auto two_steps = [&] {
      SweepSubject subject = program(batch);
      for (int i = 0; i < 2; ++i) {
        subject.loss().backward();
        subject.optimizer->step();
        subject.optimizer->zero_grad();
      }
    };
    const DryRun run = dry_run(options, two_steps, {.plan = false});
    if (run.peak <= budget) return true;
    if (scheduler::least_budget(run.graph) > budget) return false;
    return dry_run(options, two_steps, {.offers = 0}).smallest <= budget;
  };
  std::int64_t low = 0;
  std::int64_t high = 1;  // the first that does not fit, once it is known
  while (high <= most && fits(high)) {
    low = high;
    high *= 2;
  }
  high = std::min(high, most + 1);
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

bool Sweep::complete() const {
  const auto done = [&](const auto& each, const auto& measured) {
    return !each.refused.empty() || std::ssize(measured) >= options.rounds;
  };
  return !points.empty() && std::all_of(points.begin(), points.end(), [&](const auto& p) { return done(p, p.runs); }) &&
         std::all_of(peers.begin(), peers.end(), [&](const auto& p) { return done(p, p.seconds); });
}

Sweep sweep(const SweepOptions& options, const std::function<SweepSubject()>& program) {
  check(options, program);
  for (const std::string& text : options.budgets) {
    if (text != "none" && text != "smallest" && text != "auto" && !part_of(text)) (void)parse_bytes(text);
  }
  const auto say = [&](const std::string& line) {
    if (options.say) options.say(line);
  };
  std::optional<Sweep> found = begun(options);
  Sweep sweep = found ? *std::move(found) : Sweep{.options = options};
  if (!options.file.empty()) core::OutputFile::check(options.file);
  SessionOptions session{.threads = options.threads, .seed = options.seed};
  if (sweep.peers.empty() && !options.peers.empty()) sweep.peers = report::peers();
  if (sweep.points.empty()) {
    if (options.costs != "general") {
      say("measuring costs");
      sweep.plan_costs = report::costs_in_child(options, session, program);
    }
    session.costs = sweep.plan_costs;
    const auto figures = nlohmann::json::parse(report::in_child([&] {
      const report::Forecast forecast = report::forecast(session, program);
      return nlohmann::json({forecast.fixed_bytes, forecast.peak_bytes, forecast.smallest_bytes}).dump();
    }));
    figures.at(0).get_to(sweep.fixed_bytes);
    figures.at(1).get_to(sweep.peak_bytes);
    figures.at(2).get_to(sweep.smallest_bytes);
    sweep.points = points_of(sweep);
  }
  session.costs = sweep.plan_costs;
  const auto run = [&](const SessionOptions& own) {
    return report::run_from_json(
        report::in_child([&] { return report::run_to_json(report::measure(own, options.steps, program)); }));
  };

  for (int round = 0; round < options.rounds; ++round) {
    for (SweepPoint& point : sweep.points) {
      if (std::ssize(point.runs) > round || !point.refused.empty()) continue;
      say("round " + std::to_string(round + 1) + " of " + std::to_string(options.rounds) + ": " +
          (point.budget ? format_bytes(*point.budget) : std::string("no budget")));
      SessionOptions own = session;
      own.budget = point.budget;
      try {
        point.runs.push_back(run(own));
      } catch (const BudgetError& error) {
        point.refused = error.what();
      }
      report::summarize(sweep);
      if (!options.file.empty()) report::write_sweep(sweep, options.file);
    }
    for (std::size_t i = 0; i < sweep.peers.size(); ++i) {
      SweepPeer& peer = sweep.peers[i];
      if (std::ssize(peer.seconds) > round || !peer.refused.empty()) continue;
      say("round " + std::to_string(round + 1) + " of " + std::to_string(options.rounds) + ": " + peer.name);
      report::measure_peer(i, options.peers, peer);
      if (!options.file.empty()) report::write_sweep(sweep, options.file);
    }
  }
  return sweep;
}

std::string Sweep::table() const {
  std::string text;
  char row[256];
  std::snprintf(row, sizeof row, "%s: fixed %s MiB, peak without a budget %s MiB, smallest budget planned %s MiB\n",
                core::printable_name(options.name).c_str(), size_of(fixed_bytes).c_str(), size_of(peak_bytes).c_str(),
                size_of(smallest_bytes).c_str());
  text += row;
  std::snprintf(row, sizeof row, "%10s %10s %10s %10s %9s %8s %10s %8s %10s %9s %10s  %s\n", "budget MiB", "peak MiB",
                "RSS MiB", "s/step", "spread %", "extra %", "predicted", "bound", "recomputed", "moved MiB",
                "planning s", "bits equal");
  text += row;
  const double plain = points.empty() ? 0 : points.front().seconds;
  const auto percent = [&](double seconds) { return plain > 0 ? 100 * (seconds / plain - 1) : 0; };
  for (const SweepPoint& point : points) {
    const std::string budget = point.budget ? size_of(*point.budget) : "none";
    if (point.runs.empty()) {
      std::snprintf(row, sizeof row, "%10s %s\n", budget.c_str(), point.refused.empty() ? "not measured" : "refused");
      text += row;
      continue;
    }
    const SweepRun& run = point.runs.front();
    std::snprintf(row, sizeof row, "%10s %10s %10s %10.4g %9.1f %8.1f %10.1f %8.1f %10lld %9s %10.2f  %s\n",
                  budget.c_str(), size_of(run.peak_bytes).c_str(), size_of(run.rss_peak_bytes).c_str(), point.seconds,
                  100 * point.spread, 100 * point.extra, percent(point.predicted), percent(point.bound),
                  static_cast<long long>(run.recomputed_ops), size_of(run.moved_bytes).c_str(), run.plan_seconds,
                  point.equal ? "yes" : "NO");
    text += row;
  }
  for (const SweepPeer& peer : peers) {
    if (peer.seconds.empty()) {
      std::snprintf(row, sizeof row, "%s: %s\n", peer.name.c_str(), core::printable_text(peer.refused).c_str());
    } else {
      std::snprintf(row, sizeof row, "%s: %.4g s/step in %s MiB\n", peer.name.c_str(), peer.median_seconds(),
                    size_of(peer.peak_bytes).c_str());
    }
    text += row;
  }
  return text;
}

}  // namespace tidemark
