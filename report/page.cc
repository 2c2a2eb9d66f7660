#include "tidemark/page.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/output_file.h"
#include "report/embedded.h"
#include "tidemark/units.h"

namespace tidemark {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json to_json(const Sweep& sweep) {
  Json points = Json::array();
  for (const SweepPoint& point : sweep.points) {
    Json runs = Json::array();
    // The page shows one run of each; the sweep's own file has all.
    if (!point.runs.empty()) {
      const SweepRun& run = point.runs.front();
      runs.push_back({{"peak_bytes", run.peak_bytes},
                      {"rss_peak_bytes", run.rss_peak_bytes},
                      {"recomputed_ops", run.recomputed_ops},
                      {"moved_bytes", run.moved_bytes},
                      {"plan_seconds", run.plan_seconds}});
    }
    points.push_back({{"budget", point.budget ? Json(*point.budget) : Json()},
                      {"seconds", point.seconds},
                      {"spread", point.spread},
                      {"predicted", point.predicted},
                      {"bound", point.bound},
                      {"equal", point.equal},
                      {"refused", point.refused},
                      {"runs", std::move(runs)}});
  }
  Json peers = Json::array();
  for (const SweepPeer& peer : sweep.peers) {
    if (peer.seconds.empty()) continue;
    peers.push_back({{"name", peer.name}, {"seconds", peer.median_seconds()}, {"peak_bytes", peer.peak_bytes}});
  }
  return {{"peak_bytes", sweep.peak_bytes}, {"points", std::move(points)}, {"peers", std::move(peers)}};
}

// Flat lists of whole numbers: a step of ten thousand ops has to stay below 5 MB.
Json to_json(const Timeline& timeline) {
  const auto microseconds = [](double seconds) { return std::llround(1e6 * seconds); };
  Json labels = Json::array();
  for (const Timeline::Label& label : timeline.labels) {
    labels.push_back({label.name.empty() ? "a value" : label.name, label.where});
  }
  Json holders = Json::array();
  for (const Timeline::Holder& holder : timeline.holders) {
    holders.push_back({holder.label, holder.bytes, static_cast<int>(holder.category), holder.shape});
  }
  Json changes = Json::array();
  long long time = 0;
  std::int64_t reserved = 0;
  for (const Timeline::Change& change : timeline.changes) {
    const long long at = microseconds(change.seconds);
    for (const long long each : {at - time, static_cast<long long>(change.holder), change.live ? 1LL : 0LL,
                                 static_cast<long long>(change.reserved - reserved)}) {
      changes.push_back(each);
    }
    time = at;
    reserved = change.reserved;
  }
  Json spans = Json::array();
  for (const Timeline::Span& span : timeline.spans) {
    for (const long long each : {static_cast<long long>(span.track), static_cast<long long>(span.label),
                                 microseconds(span.begin), microseconds(span.end) - microseconds(span.begin)}) {
      spans.push_back(each);
    }
  }
  Json categories = Json::array();
  for (int c = 0; c < kCategories; ++c) categories.push_back(to_string(static_cast<Category>(c)));
  Json tracks = Json::array();
  for (int t = 0; t < Timeline::kTracks; ++t) tracks.push_back(to_string(static_cast<Timeline::Track>(t)));
  return {{"budget", timeline.budget ? Json(*timeline.budget) : Json()},
          {"categories", std::move(categories)},
          {"tracks", std::move(tracks)},
          {"labels", std::move(labels)},
          {"holders", std::move(holders)},
          {"changes", std::move(changes)},
          {"spans", std::move(spans)}};
}

Json to_json(const Explanation& explanation) {
  static constexpr const char* kFates[] = {"kept", "discarded", "pinned"};
  Json values = Json::array();
  for (const Explanation::Value& value : explanation.values) {
    values.push_back({{"op", value.op},
                      {"where", value.where},
                      {"shape", value.shape},
                      {"bytes", value.bytes},
                      {"seconds", value.seconds},
                      {"fate", kFates[static_cast<int>(value.fate)]},
                      {"runs", value.runs},
                      {"discarded_after", value.discarded_after},
                      {"recomputed_for", value.recomputed_for},
                      {"live_at_peak", value.live_at_peak},
                      {"why", value.why}});
  }
  Json offers = Json::array();
  for (const Explanation::Offer& offer : explanation.with_more) {
    offers.push_back({{"budget", offer.budget}, {"cost", offer.cost}});
  }
  return {{"cost", explanation.cost},
          {"peak_bytes", explanation.peak_bytes},
          {"peak_op", explanation.peak_op},
          {"with_more", std::move(offers)},
          {"values", std::move(values)}};
}

// Inside of a <script> element "</" could end it.
std::string for_script(std::string text) {
  for (std::size_t at = text.find("</"); at != std::string::npos; at = text.find("</", at + 3)) {
    text.replace(at, 2, "<\\/");
  }
  return text;
}

std::string for_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// Puts each part in the place of its "@name@".
std::string filled(std::string_view text, const std::vector<std::pair<std::string, std::string>>& parts) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    bool found = false;
    if (text[at] == '@') {
      for (const auto& [name, part] : parts) {
        const std::string mark = "@" + name + "@";
        if (text.substr(at, mark.size()) != mark) continue;
        out += part;
        at += mark.size();
        found = true;
        break;
      }
    }
    if (!found) out += text[at++];
  }
  return out;
}

}  // namespace

void write_page(const Page& page, const std::string& path) {
  core::OutputFile file(path);
  Json machine = Json::array();
  for (const auto& [what, which] : describe_machine()) machine.push_back({what, which});
  if (!page.command.empty()) machine.push_back({"command", page.command});
  if (page.sweep && !page.sweep->peers.empty()) {
    machine.push_back({"PyTorch's settings", page.sweep->peers.front().settings});
  }
  Json data = {{"facts", page.sweep ? page.sweep->options.subject : ""}, {"machine", std::move(machine)}};
  if (page.sweep) data["sweep"] = to_json(*page.sweep);
  if (page.timeline) data["timeline"] = to_json(*page.timeline);
  if (page.explanation) data["explanation"] = to_json(*page.explanation);
  file.append(filled(report::kPageHtml, {{"title", for_html(page.title)},
                                         {"uplot_css", std::string(report::kUplotCss)},
                                         {"css", std::string(report::kPageCss)},
                                         {"data", for_script(text_of(data))},
                                         {"uplot_js", std::string(report::kUplotJs)},
                                         {"js", std::string(report::kPageJs)}}));
  file.publish();
}

}  // namespace tidemark
