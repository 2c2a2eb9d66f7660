// The page's data and its size; whether it works in a browser is page_check.py's to say.
#include "tidemark/page.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "gtest/gtest.h"
#include "tests/core/temporary_folder.h"
#include "tests/report/program.h"
#include "tidemark/error.h"

namespace tidemark::test {
namespace {

nlohmann::json data_of(const std::string& html) {
  const std::string mark = "id=\"data\">";
  const std::size_t from = html.find(mark) + mark.size();
  return nlohmann::json::parse(html.substr(from, html.find("</script>", from) - from));
}

// A step of so many ops, each with a value that lives until a thousand ops later.
Timeline large_timeline(int ops) {
  Timeline timeline;
  timeline.budget = 5_GiB;
  for (int i = 0; i < 200; ++i) timeline.labels.push_back({"conv2d", "network.cc:" + std::to_string(100 + i)});
  constexpr int kLife = 1000;
  for (int i = 0; i < ops + kLife; ++i) {
    const double now = 1e-4 * i;
    if (i < ops) {
      timeline.holders.push_back(
          {i % 200, (1 + i % 7) * 1_MiB, static_cast<Category>(i % kCategories), "[8, 64, 32, 32]"});
      timeline.changes.push_back({now, i, true, 4_GiB + i});
      timeline.spans.push_back({static_cast<Timeline::Track>(i % 3), i % 200, now, now + 9e-5, 0, 1});
    }
    if (i >= kLife) timeline.changes.push_back({now + 5e-5, i - kLife, false, 4_GiB + i});
  }
  timeline.seconds = 1e-4 * (ops + kLife);
  return timeline;
}

TEST(Page, HoldsWhatWasMeasured) {
  const ChainBytes bytes = bytes_of_chain();
  Session session({.budget = bytes.at(0.4), .threads = 2});
  Chain chain;
  for (int i = 0; i < 3; ++i) chain.step();
  session.start_timeline();
  chain.step();
  const Timeline timeline = session.stop_timeline();
  const TemporaryFolder folder;
  write_page({.title = "a <b> & \"c\" </script>",
              .command = "</script><script>",
              .timeline = timeline,
              .explanation = session.explanation()},
             folder / "page.html");
  const std::string html = folder.read("page.html");
  EXPECT_NE(html.find("a &lt;b&gt; &amp; &quot;c&quot;"), std::string::npos);
  const nlohmann::json data = data_of(html);
  EXPECT_EQ(data["machine"].back()[1], "</script><script>");
  const nlohmann::json& step = data["timeline"];
  std::int64_t total = 0;
  std::int64_t highest = 0;
  for (std::size_t i = 0; i < step["changes"].size(); i += 4) {
    const nlohmann::json& holder = step["holders"][step["changes"][i + 1].get<std::size_t>()];
    total += (step["changes"][i + 2] == 1 ? 1 : -1) * holder[1].get<std::int64_t>();
    highest = std::max(highest, total);
  }
  EXPECT_EQ(highest, session.report().last_step.peak_bytes);
  EXPECT_EQ(step["spans"].size(), 4 * timeline.spans.size());
  EXPECT_EQ(data["explanation"]["values"].size(), session.explanation(0).values.size());
}

TEST(Page, OfTenThousandOpsIsBelowFiveMegabytes) {
  const TemporaryFolder folder;
  Explanation explanation;
  for (int i = 0; i < 10000; ++i) {
    explanation.values.push_back({.op = i % 2 == 0 ? "conv2d" : "relu.backward",
                                  .where = "network.cc:123",
                                  .shape = "[8, 64, 32, 32]",
                                  .bytes = (1 + i % 7) * 1_MiB,
                                  .seconds = 1e-4,
                                  .runs = 1 + i % 2,
                                  .discarded_after = "",
                                  .recomputed_for = "",
                                  .why = "it is not in memory at the peak"});
  }
  const Page page{.title = "large", .command = "", .timeline = large_timeline(10000), .explanation = explanation};
  write_page(page, folder / "page.html");
  EXPECT_LT(folder.read("page.html").size(), 5000000u);
  // For page_check.py.
  if (const char* kept = std::getenv("TIDEMARK_PAGES")) write_page(page, std::string(kept) + "/large.html");
}

TEST(Page, CannotBeWrittenWhereThereIsNoFolder) {
  EXPECT_THROW(write_page({.title = "t", .command = ""}, "/no/such/folder/page.html"), FileError);
  EXPECT_THROW(write_svg(Sweep{}, "/tmp/x.svg"), Error);
  EXPECT_THROW(write_svg(Timeline{}, "/tmp/x.svg"), Error);
}

}  // namespace
}  // namespace tidemark::test
