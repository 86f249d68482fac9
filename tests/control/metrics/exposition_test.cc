// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/exposition.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <set>
#include <string>

#include "control/metrics/page.h"

namespace vmnat::metrics {
namespace {

using http::Exposition;

std::string written(Exposition form) {
  std::string text;
  ExpositionWriter out(text, form);
  out.begin(family("vmnat_build_info"));
  out.sample(label("version", "1"), 1);
  out.begin(family("vmnat_received_total"));
  out.sample({}, std::uint64_t{18446744073709551615u});
  out.begin(family("vmnat_start_time_seconds"));
  out.sample({}, 1.5);
  out.end();
  return text;
}

TEST(Exposition, AsText) {
  EXPECT_EQ(written(Exposition::Text),
            "# HELP vmnat_build_info What is running. Always 1.\n"
            "# TYPE vmnat_build_info gauge\n"
            "vmnat_build_info{version=\"1\"} 1\n"
            "# HELP vmnat_received_total Frames received on all ports.\n"
            "# TYPE vmnat_received_total counter\n"
            "vmnat_received_total 18446744073709551615\n"
            "# HELP vmnat_start_time_seconds When vmnatd started, in seconds since 1970; changes() of it "
            "counts restarts.\n"
            "# TYPE vmnat_start_time_seconds gauge\n"
            "vmnat_start_time_seconds 1.5\n");
}

TEST(Exposition, AsOpenMetrics) {
  const std::string text = written(Exposition::OpenMetrics);
  EXPECT_NE(text.find("# TYPE vmnat_build info\nvmnat_build_info{version=\"1\"} 1\n"), text.npos) << text;
  EXPECT_NE(text.find("# TYPE vmnat_received counter\nvmnat_received_total 18446744073709551615\n"),
            text.npos);
  EXPECT_TRUE(text.ends_with("\n# EOF\n"));
}

TEST(Exposition, EscapesWhatLabelsMayNotHold) {
  std::string labels = label("network", "a\"b\\c\nd");
  add_label(labels, "port", "vm1");
  EXPECT_EQ(labels, R"(network="a\"b\\c\nd",port="vm1")");
}

TEST(Families, HaveNamesAndHelpsThatPrometheusLikes) {
  std::set<std::string_view> names, counters;
  for (const Section& section : kSections)
    for (const Family& row : section.families) {
      EXPECT_TRUE(names.insert(row.name).second) << row.name;
      EXPECT_TRUE(row.counter.empty() || counters.insert(row.counter).second) << row.counter;
      EXPECT_TRUE(row.name.starts_with("vmnat_")) << row.name;
      EXPECT_EQ(row.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), row.name.npos) << row.name;
      EXPECT_EQ(row.kind == Kind::Counter, row.name.ends_with("_total")) << row.name;
      EXPECT_EQ(row.kind == Kind::Info, row.name.ends_with("_info")) << row.name;
      EXPECT_FALSE(row.help.empty()) << row.name;
      EXPECT_EQ(row.help.find_first_of("\\\"\n"), row.help.npos) << row.name;
      EXPECT_EQ(row.counter.ends_with(".*"), !row.counter.empty() && !row.labels.empty()) << row.name;
    }
}

// "a.b" is vmnat_a_b_total, or vmnat_a_b if it goes up and down.
TEST(Families, OfCountersAreNamedAsTheyAre) {
  for (const Section& section : kSections)
    for (const Family& row : section.families) {
      if (row.counter.empty()) continue;
      std::string name = "vmnat_" + std::string{row.counter.substr(0, row.counter.find(".*"))};
      for (char& c : name)
        if (c == '.') c = '_';
      EXPECT_EQ(row.name, row.kind == Kind::Counter ? name + "_total" : name);
    }
}

TEST(Families, StandOnThePage) {
  std::ifstream file(VMNAT_METRICS_PAGE);
  const std::string page(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(page, metrics_page()) << "write docs/metrics.md anew: ninja -C build metrics_page";
}

}  // namespace
}  // namespace vmnat::metrics
