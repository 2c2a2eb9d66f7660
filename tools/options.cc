#include "tools/options.h"

#include <limits>

#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"

namespace tidemark::tools {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;

std::string describe_models(const std::vector<nn::NamedModel>& models) {
  std::string text;
  for (const nn::NamedModel& model : models) {
    text += (text.empty() ? "" : "\n") + model.name + ": " + model.summary;
  }
  return text;
}

void add_workload_options(CLI::App& app, WorkloadOptions& options, const std::vector<nn::NamedModel>& models) {
  const char* group = "What is trained";
  add_choice(app, "--model", options.model, list_names(models), describe_models(models))->group(group);
  add_text(app, "--data", "SPEC", options.data, "synthetic, mnist:DIR, cifar10:DIR or text:FILE")->group(group);
  add_whole(app, "--batch", options.batch, 1, kMost, "examples a step")->group(group);
  add_whole(app, "--seed", options.seed, 0, std::numeric_limits<std::int64_t>::max(),
            "of initial weights, dropout, the data's order, synthetic data and a planner's search")
      ->group(group);
  add_named_options(app, models, "Sizes of the model", options.model_options);
  const auto size = [&](const char* name, std::optional<std::int64_t>& target, std::int64_t otherwise,
                        std::int64_t least, std::int64_t most, const char* help) {
    add_whole(app, name, target, std::to_string(otherwise), least, most, help)->group("Sizes of the data");
  };
  size("--image", options.image, kImage, 1, 1 << 14, "synthetic images: height and width");
  size("--channels", options.channels, kChannels, 1, 1 << 14, "synthetic images: channels");
  size("--classes", options.classes, kClasses, 2, 1 << 20, "synthetic images: classes");
  size("--vocabulary", options.vocabulary, kVocabulary, 2, 1 << 24, "synthetic text: different tokens");
  size("--context", options.context, kContext, 1, 1 << 20, "text: tokens of a row");
}

void add_optimizer_options(CLI::App& app, OptimizerOptions& options,
                           const std::vector<optim::NamedOptimizer>& optimizers) {
  const char* group = "How it is optimized";
  add_choice(app, "--optimizer", options.kind, list_names(optimizers), "the optimizer")->group(group);
  add_named_options(app, optimizers, group, options.options);
  add_choice(app, "--state", options.state, "f16", {"f16", "f32"}, "how its moments are kept")->group(group);
  add_choice(app, "--schedule", options.schedule, {"constant", "linear", "cosine", "one-cycle"},
             "of the learning rate: constant; falling to 0 at the end, evenly or along a cosine; or rising from a 25th "
             "and falling to nothing, with the momentum the other way")
      ->group(group);
  add_whole(app, "--warmup", options.warmup, 0, std::int64_t{1} << 40,
            "steps in which the learning rate rises to its full value; 0 for one-cycle: 30 % of all")
      ->group(group);
}

void add_threads(CLI::App& app, std::int64_t& threads) {
  add_whole(app, "--threads", threads, 0, 1024, "compute threads; 0: every CPU of the process");
}

void add_costs(CLI::App& app, std::string& costs) {
  add_choice(app, "--costs", costs, {"general", "calibrated"},
             "what plans take ops to cost: by rates of no machine in particular, or of this one, measured first");
}

void check_data(const WorkloadOptions& options, bool is_text) {
  const DataSpec spec = parse_data(options.data);
  const bool synthetic = spec.kind == "synthetic";
  if (is_text && !synthetic && spec.kind != "text") {
    throw UsageError("--model " + options.model + " reads text: --data can be synthetic or text:FILE");
  }
  if (!is_text && spec.kind == "text") {
    throw UsageError("--model " + options.model + " reads images: --data can be synthetic, mnist:DIR or cifar10:DIR");
  }
  const auto only = [&](const char* name, const std::optional<std::int64_t>& value, bool applies, const char* to) {
    if (!value || applies) return;
    throw UsageError(std::string(name) + " is for " + to + ", not for --model " + options.model + " --data " +
                     options.data);
  };
  only("--image", options.image, synthetic && !is_text, "synthetic images");
  only("--channels", options.channels, synthetic && !is_text, "synthetic images");
  only("--classes", options.classes, synthetic && !is_text, "synthetic images");
  only("--vocabulary", options.vocabulary, synthetic && is_text, "synthetic text");
  only("--context", options.context, is_text, "text");
}

void check_workload(const WorkloadOptions& workload, const OptimizerOptions& optimizer, const Tables& tables) {
  check_named("--optimizer", tables.optimizers, optimizer.kind, optimizer.options);
  check_named("--model", tables.models, workload.model, workload.model_options);
  check_data(workload, find_named(tables.models, "model", workload.model, {}).reads_tokens);
}

}  // namespace

DataSpec parse_data(const std::string& text) {
  const std::size_t colon = text.find(':');
  DataSpec spec{text.substr(0, colon), colon == text.npos ? "" : text.substr(colon + 1)};
  const bool from_files = spec.kind == "mnist" || spec.kind == "cifar10" || spec.kind == "text";
  if ((spec.kind == "synthetic" && colon == text.npos) || (from_files && !spec.path.empty())) return spec;
  throw UsageError("--data is '" + text + "', but can be: synthetic, mnist:DIR, cifar10:DIR, text:FILE");
}

std::optional<std::int64_t> training_budget(const std::string& text) {
  if (text == "none") return std::nullopt;
  try {
    const std::int64_t bytes = parse_bytes(text);
    if (bytes > 0) return bytes;
  } catch (const Error& error) {
    throw UsageError("--budget: " + std::string(error.what()) + ", or none");
  }
  throw UsageError("--budget must be more than 0, or none");
}

void add_options(CLI::App& app, TrainCommand& command, const Tables& tables) {
  add_workload_options(app, command.workload, tables.models);
  add_optimizer_options(app, command.optimizer, tables.optimizers);
  const char* group = "How long, and on what";
  CLI::Option* steps =
      add_whole(app, "--steps", command.steps, "100", 1, std::int64_t{1} << 40, "optimizer steps")->group(group);
  add_whole(app, "--epochs", command.epochs, "", 1, std::int64_t{1} << 30, "passes over the data")
      ->excludes(steps)
      ->group(group);
  add_text(app, "--budget", "SIZE", command.budget, "all bytes that training may take: 512MiB, 1.5GiB, ..., or none")
      ->group(group);
  add_threads(app, command.threads);
  add_costs(app, command.costs);
  group = "Checkpoints";
  CLI::Option* save =
      add_text(app, "--save", "FILE", command.save,
               "a checkpoint, at the end and where SIGINT or SIGTERM ends the run early; the one before "
               "it is FILE.1")
          ->group(group);
  add_whole(app, "--save-every", command.save_every, "", 1, std::int64_t{1} << 40, "so many steps")
      ->needs(save)
      ->group(group);
  add_text(app, "--resume", "FILE", command.resume,
           "go on from there, to the same bits; where it is the FILE of --save it may be missing: a run that begins")
      ->group(group);
  group = "What is said";
  app.add_flag("--evaluate", command.evaluate, "measure the test split at the end")->group(group);
  add_whole(app, "--sample", command.sample, "", 1, std::int64_t{1} << 20,
            "print this many tokens that the model writes")
      ->group(group);
  add_text(app, "--json", "FILE", command.json, "an object a step and a last one with the summary")->group(group);
  add_text(app, "--trace", "FILE", command.trace, "what runs and what is in memory, for Perfetto or chrome://tracing")
      ->group(group);
}

void check(const TrainCommand& command, const Tables& tables) {
  (void)training_budget(command.budget);
  check_workload(command.workload, command.optimizer, tables);
  const bool is_text = find_named(tables.models, "model", command.workload.model, {}).reads_tokens;
  if (command.sample && !is_text) throw UsageError("--sample is for a --model that reads text");
}

void add_options(CLI::App& app, PlanCommand& command, const Tables& tables) {
  add_workload_options(app, command.workload, tables.models);
  add_optimizer_options(app, command.optimizer, tables.optimizers);
  add_threads(app, command.threads);
  add_costs(app, command.costs);
  const std::vector<CLI::Option*> of_model =
      app.get_options([&](const CLI::Option* o) { return o != app.get_help_ptr() && o->get_name() != "--seed"; });
  app.get_option("--model")->each([&](const std::string&) { command.of_model = true; });
  CLI::Option* graph = add_text(app, "--graph", "FILE", command.graph,
                                "a program in the format of docs/scheduler.md, in place of a --model");
  for (CLI::Option* option : of_model) graph->excludes(option);
  add_text(app, "--dump-graph", "FILE", command.dump_graph, "where the graph of the model's step goes")
      ->excludes(graph);
  app.add_flag("--verbose", command.verbose, "say what the planner does");
  CLI::Option* budget =
      add_text(app, "--budget", "SIZE", command.budget, std::string("what it may take: ") + kBudgetForms);
  CLI::Option* sweep =
      app.add_flag("--sweep", command.sweep, "a table of many budgets in place of one plan")->excludes(budget);
  app.add_option("--budgets", command.budgets, "those of --sweep, with commas between them")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST")
      ->needs(sweep);
  add_choice(app, "--effort", command.effort, {"default", "high"}, "how long to search");
  app.add_flag("--no-place", command.no_place, "bound live bytes only, without offsets");
  app.add_flag("--repeated", command.repeated,
               "the program runs again and again: what ops without reads write may stay from run to run");
  add_text(app, "--out", "FILE", command.out, "where the plan goes")->excludes(sweep);
}

void check(const PlanCommand& command, const Tables& tables) {
  if (command.graph.empty() && !command.of_model) throw UsageError("give --graph FILE or --model NAME");
  if (!command.graph.empty() && !command.sweep && command.budget.empty()) {
    throw UsageError("give --budget SIZE or --sweep");
  }
  if (!command.sweep && command.budget.empty() && (!command.out.empty() || command.verbose)) {
    throw UsageError("--out and --verbose are for a plan: give --budget SIZE or --sweep");
  }
  if (command.of_model) check_workload(command.workload, command.optimizer, tables);
}

void add_options(CLI::App& app, ExplainCommand& command, const Tables& tables) {
  add_workload_options(app, command.workload, tables.models);
  add_optimizer_options(app, command.optimizer, tables.optimizers);
  add_text(app, "--budget", "SIZE", command.budget, "all bytes that training may take: 512MiB, 1.5GiB, ..., or none");
  add_threads(app, command.threads);
  add_costs(app, command.costs);
  add_whole(app, "--offers", command.offers, 0, 1000, "larger budgets that are planned, to say what they would buy");
}

void check(const ExplainCommand& command, const Tables& tables) {
  (void)training_budget(command.budget);
  check_workload(command.workload, command.optimizer, tables);
}

void add_options(CLI::App& app, SweepCommand& command, const Tables& tables) {
  add_workload_options(app, command.workload, tables.models);
  add_optimizer_options(app, command.optimizer, tables.optimizers);
  app.add_option("--budgets", command.budgets,
                 "with commas between them: none; 512MiB, ...; 40% of the peak without a budget above the fixed bytes; "
                 "smallest: that was planned; auto: the smallest and eleven up to the peak")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
  add_whole(app, "--rounds", command.rounds, 1, 1000, "processes a budget; rounds follow each other");
  add_whole(app, "--steps", command.steps, 1, 1000000, "measured in each process, after two that are not");
  add_threads(app, command.threads);
  add_choice(app, "--costs", command.costs, {"general", "calibrated", "measured"},
             "what plans take ops to cost: by rates of no machine in particular, by those of this one, or as measured "
             "op by op without a budget");
  add_text(app, "--out", "FILE", command.out,
           "the results as JSON (docs/sweep.md), after each process; an interrupted sweep goes on from there");
  add_text(app, "--html", "FILE", command.html, "a page with charts, that opens offline");
  add_text(app, "--svg", "PREFIX", command.svg, "PREFIX-curve.svg and PREFIX-step.svg, drawn by gnuplot");
  app.add_flag(
      "--peers", command.peers,
      "measure PyTorch on the same model too, plain and checkpointed: mlp, vgg16 and gpt, where python3-torch is");
  add_text(app, "--look", "SIZE", command.look,
           "the budget whose step the page and the second picture show, or the smallest planned where that is larger");
  app.add_flag("--batches", command.batches,
               "find the largest batch that fits each budget, in place of measuring; budgets are bytes then");
}

void check(const SweepCommand& command, const Tables& tables) {
  if (command.peers && command.workload.data != "synthetic") throw UsageError("--peers is for --data synthetic");
  if (command.batches && (command.peers || !command.out.empty() || !command.html.empty() || !command.svg.empty())) {
    throw UsageError("--batches measures nothing: it has no --out, --html, --svg or --peers");
  }
  for (const std::string& budget : command.budgets) {
    if (command.batches && (budget == "none" || budget == "auto" || budget == "smallest" || budget.ends_with('%'))) {
      throw UsageError("--batches finds batches for --budgets in bytes, and '" + budget + "' is none");
    }
  }
  check_workload(command.workload, command.optimizer, tables);
}

void add_options(CLI::App& app, SimulateCommand& command) {
  add_text(app, "--graph", "FILE", command.graph, "the program, in the format of docs/scheduler.md")->required();
  add_text(app, "--budget", "SIZE", command.budget, std::string("what it may take: ") + kBudgetForms)->required();
  add_choice(app, "--policy", command.policy, {"online"}, "who chooses what is discarded");
  add_text(app, "--out", "FILE", command.out, "where the steps go, as a plan");
}

}  // namespace tidemark::tools
