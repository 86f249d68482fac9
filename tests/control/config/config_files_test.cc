// SPDX-License-Identifier: Apache-2.0
// The files of configs/: all load; schema.json and reference.yaml are what the rows of the keys make of them,
// and reference.yaml says the built-in defaults.
#include "control/config/config_files.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <sstream>

#include "control/config/dump.h"
#include "tests/support/config_text.h"

namespace vmnat::config {
namespace {

std::string text_of(const std::string& name) {
  std::ifstream file(std::string{VMNAT_CONFIGS} + "/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// reference.yaml with each default replaced by the example behind its "#:".
std::string with_examples(const std::string& reference) {
  std::string result;
  std::istringstream lines(reference);
  for (std::string line; std::getline(lines, line); result += line + "\n") {
    const auto mark = line.find("  #: ");
    if (mark != line.npos) line = line.substr(0, line.find(": ") + 2) + line.substr(mark + 5);
  }
  return result;
}

// The reference's required values and nothing else: all the rest is what the program makes of it.
constexpr std::string_view kOnlyRequired = R"(
uplink: {device: "0000:3b:00.0", address: 203.0.113.2/24, gateway: 203.0.113.1}
networks: [{name: default, address: 192.168.122.1/24, dhcp: {}}]
)";

TEST(ReferenceYaml, SaysTheBuiltInDefaults) {
  const auto reference = load_text(text_of("reference.yaml"));
  const auto defaults = load_text(std::string{kOnlyRequired});
  ASSERT_TRUE(reference.has_value()) << problems_of(reference).at(0);
  ASSERT_TRUE(defaults.has_value()) << problems_of(defaults).at(0);
  EXPECT_EQ(dump_config(*reference), dump_config(*defaults));
  EXPECT_EQ(*reference, *defaults);
}

TEST(ReferenceYaml, LoadsWithItsExamples) {
  const auto loaded = load_text(with_examples(text_of("reference.yaml")));
  for (const std::string& problem : problems_of(loaded))
    EXPECT_NE(problem.find(": not supported yet: "), problem.npos) << problem;
}

TEST(ConfigFiles, AreWhatTheKeysMakeOfThem) {
  const char* const kHint = "write it anew by: ninja -C build configs";
  EXPECT_TRUE(text_of("reference.yaml") == reference_yaml()) << "configs/reference.yaml differs; " << kHint;
  EXPECT_TRUE(text_of("schema.json") == schema_json()) << "configs/schema.json differs; " << kHint;
}

TEST(ReferenceYaml, ExamplePortsShowTheDefaultsOfAPort) {
  const std::string start = kUplink + "networks: [{name: a, address: 192.168.122.1/24, ports: ";
  const auto shown = load_text(start +
                               "[{name: p, vhost_user: /a, mode: client, queues: 1, mac: any, address: any, "
                               "guard: on, relay: false}]}]");
  const auto left_out = load_text(start + "[{name: p, vhost_user: /a}]}]");
  ASSERT_TRUE(shown && left_out);
  EXPECT_EQ(*shown, *left_out);
}

class ShippedConfig : public testing::TestWithParam<const char*> {};

TEST_P(ShippedConfig, Loads) {
  const auto loaded = load_text(text_of(GetParam()));
  EXPECT_TRUE(loaded.has_value()) << problems_of(loaded).at(0);
}

TEST_P(ShippedConfig, IsTheSameAfterBeingWrittenAndReadAgain) {
  const auto loaded = load_text(text_of(GetParam()));
  ASSERT_TRUE(loaded.has_value());
  const auto again = load_text(dump_config(*loaded));
  ASSERT_TRUE(again.has_value()) << problems_of(again).at(0) << "\n" << dump_config(*loaded);
  EXPECT_EQ(*again, *loaded);
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig,
                         testing::Values("libvirt-default.yaml", "two-networks.yaml", "lab-veth.yaml",
                                         "reference.yaml"));

TEST(LibvirtDefault, IsVirbr0sNetwork) {
  const auto loaded = load_text(text_of("libvirt-default.yaml"));
  ASSERT_TRUE(loaded.has_value());
  const Network& network = loaded->networks.at(0);
  EXPECT_EQ(net::to_string(network.address), "192.168.122.1/24");
  EXPECT_EQ(network.dhcp->ranges.at(0).size(), 253u);
  EXPECT_EQ(network.forward, Forward::Nat);
}

// What cut and scrambled files do: they are refused or they load, and nothing else.
TEST(Loader, SurvivesCutAndScrambledFiles) {
  const std::string original = with_examples(text_of("reference.yaml"));
  const std::string spice = "{}[]:,-#&*!|>'\"%@`\n\t 0\\\x01\xff";
  std::mt19937 random(20260101);
  unsigned refused = 0, loaded_well = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = original;
    if (round % 3 == 0) text.resize(random() % text.size());
    for (unsigned change = random() % 5; change > 0 && !text.empty(); --change) {
      const std::size_t at = random() % text.size();
      if (random() % 2 == 0)
        text[at] = spice[random() % spice.size()];
      else
        text.insert(at, text.substr(random() % text.size(), random() % 40));
    }
    const auto loaded = load_text(text);
    (loaded ? loaded_well : refused)++;
    EXPECT_TRUE(loaded || !loaded.error().empty());
  }
  EXPECT_EQ(refused + loaded_well, 1500u);
  EXPECT_GT(refused, 500u);
  EXPECT_GT(loaded_well, 500u);
}

}  // namespace
}  // namespace vmnat::config
