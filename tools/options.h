// What the command line asks for: a struct a subcommand, and the options that fill it. Nothing here runs a command, and
// the tables of models and optimizers are handed in: so a test reads command lines without a kernel in the program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/models.h"
#include "tidemark/optim.h"

namespace CLI {
class App;
}

namespace tidemark::tools {

struct Tables {
  const std::vector<nn::NamedModel>& models;
  const std::vector<optim::NamedOptimizer>& optimizers;
};

struct WorkloadOptions {
  std::string model = "mlp";
  NamedValues::Given model_options;
  std::string data = "synthetic";
  std::int64_t batch = 32;
  std::int64_t seed = 1;
  // Of the data; for synthetic data alone, but for the context.
  std::optional<std::int64_t> image, channels, classes, vocabulary, context;
};

// Where the options do not say it.
inline constexpr std::int64_t kImage = 32, kChannels = 3, kClasses = 10, kVocabulary = 256, kContext = 64;

// "mnist:DIR" is the kind and what it is read from.
struct DataSpec {
  std::string kind;
  std::string path;
};
// Throws UsageError.
DataSpec parse_data(const std::string& text);

struct OptimizerOptions {
  std::string kind = "adamw";
  NamedValues::Given options;
  std::optional<std::string> state;
  std::string schedule = "constant";
  std::int64_t warmup = 0;  // steps
};

struct TrainCommand {
  WorkloadOptions workload;
  OptimizerOptions optimizer;
  std::optional<std::int64_t> steps, epochs;
  std::string budget = "none";
  std::int64_t threads = 0;
  bool evaluate = false;
  std::optional<std::int64_t> sample;
  std::string json;
  std::string trace;
  std::string costs = "general";
  std::string save, resume;
  std::optional<std::int64_t> save_every;
};
void add_options(CLI::App& app, TrainCommand& command, const Tables& tables);
// Nothing for "none". Throws UsageError.
std::optional<std::int64_t> training_budget(const std::string& text);
// Throws UsageError where the options do not fit each other, as far as that shows without model and data.
void check(const TrainCommand& command, const Tables& tables);

// What is planned is a graph file, or a step of a built-in model.
struct PlanCommand {
  std::string graph;
  bool of_model = false;
  WorkloadOptions workload;
  OptimizerOptions optimizer;
  std::int64_t threads = 0;
  std::string costs = "general";
  std::string dump_graph;
  bool verbose = false;
  std::string budget;
  bool sweep = false;
  std::vector<std::string> budgets{"90%", "80%", "70%", "60%", "50%", "40%", "30%", "20%", "10%"};
  std::string effort = "default";
  bool no_place = false;
  bool repeated = false;
  std::string out;
};
void add_options(CLI::App& app, PlanCommand& command, const Tables& tables);
void check(const PlanCommand& command, const Tables& tables);

struct ExplainCommand {
  WorkloadOptions workload;
  OptimizerOptions optimizer;
  std::string budget = "none";
  std::int64_t threads = 0;
  std::int64_t offers = 4;
  std::string costs = "general";
};
void add_options(CLI::App& app, ExplainCommand& command, const Tables& tables);
void check(const ExplainCommand& command, const Tables& tables);

struct SweepCommand {
  WorkloadOptions workload;
  OptimizerOptions optimizer;
  std::vector<std::string> budgets{"none", "auto"};
  std::int64_t rounds = 3;
  std::int64_t steps = 5;
  std::int64_t threads = 0;
  std::string costs = "general";
  bool batches = false;
  bool peers = false;
  std::string look = "40%";
  std::string out, html, svg;
};
void add_options(CLI::App& app, SweepCommand& command, const Tables& tables);
void check(const SweepCommand& command, const Tables& tables);

struct SimulateCommand {
  std::string graph;
  std::string budget;
  std::string policy = "online";
  std::string out;
};
void add_options(CLI::App& app, SimulateCommand& command);

}  // namespace tidemark::tools
