// SPDX-License-Identifier: Apache-2.0
// The file and the overlay together: over restarts, reloads of a file that has changed, and damage.
#include "control/changes/configuration.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>

#include "tests/control/changes/changed_text.h"
#include "tests/support/temp_dir.h"

namespace vmnat::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct ConfigurationTest : testing::Test {
  TempDir dir;
  const std::string path = dir / "vmnat.yaml", overlay = dir / "state/overlay.yaml";
  std::unique_ptr<Configuration> configuration;

  ConfigurationTest() {
    write_file(kFileText);
    restart();
  }
  void write_file(const std::string& text) const {
    std::ofstream(path) << text << "control: {state_dir: " << dir / "state"
                        << "}\n";
  }
  // As vmnatd does when it starts.
  void restart() {
    auto loaded = Configuration::load(path);
    ASSERT_TRUE(loaded) << config::to_string(loaded.error().front());
    configuration = *std::move(loaded);
  }
  // As the daemon does, with all changes live; what is wrong, or nothing.
  [[nodiscard]] std::string carry_out(Result<Proposal> proposal) const {
    if (!proposal) return to_string(proposal.error());
    auto kept = configuration->keep(*proposal);
    if (!kept) return to_string(kept.error());
    configuration->in_effect() = proposal->wanted;
    const auto taken = configuration->take_over(*std::move(proposal), *std::move(kept));
    return taken ? "" : to_string(taken.error());
  }
  [[nodiscard]] std::string edit(const EditRequest& request) const {
    return carry_out(configuration->edited(request, {net::Ipv4Addr::of(192, 0, 2, 53)}));
  }
  [[nodiscard]] std::string add_port(const std::string& name, Lasting lasting) const {
    return edit({"port-add", {{"name", name}, {"network", "red"}, {"device", "dev-" + name}}, lasting});
  }
  [[nodiscard]] std::string delete_port(const std::string& name, Lasting lasting) const {
    return edit({"port-del", {{"name", name}}, lasting});
  }
  [[nodiscard]] std::string reload() const { return carry_out(configuration->reread()); }
  [[nodiscard]] std::vector<std::string> ports() const { return port_names(configuration->in_effect()); }
};

TEST_F(ConfigurationTest, WithoutAnOverlayItIsTheFile) {
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2"));
  EXPECT_THAT(configuration->notes(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(overlay));
}

TEST_F(ConfigurationTest, PersistentEditsSurviveARestartAndOthersAReloadAlone) {
  EXPECT_EQ(add_port("vm8", Lasting::UntilRestart), "");
  EXPECT_FALSE(std::filesystem::exists(overlay));
  EXPECT_EQ(add_port("vm9", Lasting::Persistent), "");
  EXPECT_EQ(delete_port("vm1", Lasting::Persistent), "");
  EXPECT_EQ(delete_port("vm2", Lasting::UntilRestart), "");
  EXPECT_EQ(reload(), "");
  EXPECT_THAT(ports(), ElementsAre("vm9", "vm8"));
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm2", "vm9"));
  EXPECT_THAT(configuration->notes(), IsEmpty());
  EXPECT_EQ(origin_at(configuration->origins(), "networks[0].ports[1]"), config::Origin::PersistentScript);
}

TEST_F(ConfigurationTest, WhatIsNotTakenOverChangesNothing) {
  ASSERT_EQ(add_port("vm9", Lasting::Persistent), "");
  const auto before = configuration->in_effect();
  {
    const auto proposal = configuration->edited({"port-del", {{"name", "vm9"}}, Lasting::Persistent}, {});
    ASSERT_TRUE(proposal);
    const auto kept = configuration->keep(*proposal);
    ASSERT_TRUE(kept && *kept);
  }
  EXPECT_EQ(configuration->in_effect(), before);
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2", "vm9"));
  EXPECT_FALSE(std::filesystem::exists(overlay + ".new"));
}

TEST_F(ConfigurationTest, AnEditIsCheckedAsTheFileIs) {
  EXPECT_EQ(
      edit({"port-add",
            {{"name", "vm9"}, {"network", "red"}, {"vhost_user", "/run/vm1.sock"}, {"address", "10.0.0.1"}},
            Lasting::UntilRestart}),
      "port vm9 (by a script): address: 10.0.0.1 is not within 192.168.122.0/24\n"
      "port vm9 (by a script): vhost_user: socket /run/vm1.sock is already used at line 6 of " +
          path);
  EXPECT_EQ(edit({"network-add",
                  {{"text", "name: lab\naddress: 192.168.5.1/24\nmtu: 10\n"}, {"file", "lab.yaml"}},
                  Lasting::UntilRestart}),
            "lab.yaml:2:10: address: 192.168.5.1/24 overlaps network 'blue' (192.168.5.1/24)\n"
            "lab.yaml:3:6: mtu: must be between 68 and 65535, not 10");
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2"));
}

TEST_F(ConfigurationTest, TheLinesOfANetworksFileAreToldOnlyWhileItIsAdded) {
  ASSERT_EQ(edit({"network-add",
                  {{"text", "name: lab\naddress: 10.9.0.1/24\n"}, {"file", "lab.yaml"}},
                  Lasting::UntilRestart}),
            "");
  write_file(kFileText + "  - {name: green, address: 10.9.0.1/16}\n");
  EXPECT_EQ(reload(),
            "network lab (by a script): address: 10.9.0.1/24 overlaps network 'green' (10.9.0.1/16)");
}

TEST_F(ConfigurationTest, AReloadIsRefusedWhereTheFileHasAScriptsPortToo) {
  ASSERT_EQ(add_port("vm9", Lasting::UntilRestart), "");
  std::string text = kFileText;
  text.insert(text.find("    dhcp: {}"), "      - {name: vm9, device: veth9}\n");
  write_file(text);
  EXPECT_EQ(reload(), "port vm9 (by a script): the configuration file has it, too");
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2", "vm9"));
  EXPECT_EQ(delete_port("vm9", Lasting::UntilRestart), "");
  EXPECT_EQ(reload(), "");
  EXPECT_EQ(configuration->in_effect().networks[0].ports[2].device.name, "veth9");
}

TEST_F(ConfigurationTest, AReloadTellsTheFilesOwnProblemsAlone) {
  ASSERT_EQ(add_port("vm9", Lasting::UntilRestart), "");
  write_file("uplink: 5\nnetworks: 6\n");
  EXPECT_EQ(reload(), path + ":1:9: uplink: must be a map (key: value), not '5'\n" + path +
                          ":2:11: networks: must be a list, not '6'");
}

TEST_F(ConfigurationTest, ARemovalIsForgottenWhenTheFileNoLongerHasThePort) {
  ASSERT_EQ(delete_port("vm2", Lasting::Persistent), "");
  std::string text = kFileText;
  const auto at = text.find("      - {name: vm2");
  text.erase(at, text.find('\n', at) + 1 - at);
  write_file(text);
  ASSERT_EQ(reload(), "");
  write_file(kFileText);
  ASSERT_EQ(reload(), "");
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2"));
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2"));
}

TEST_F(ConfigurationTest, WhatNoLongerFitsTheFileIsLeftOutAtAStart) {
  for (const char* name : {"vm5", "vm6", "vm7", "vm8", "vm9"})
    ASSERT_EQ(add_port(name, Lasting::Persistent), "");
  std::string text = kFileText;
  text.insert(text.find("    dhcp: {}"),
              "      - {name: vm6, device: dev-vm6}\n      - {name: x, device: dev-vm8}\n");
  write_file(text);
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2", "vm6", "x", "vm5", "vm7", "vm9"));
  ASSERT_EQ(configuration->notes().size(), 3u);
  EXPECT_EQ(configuration->notes()[0],
            "left out what a script has changed: port vm6 (by a script): the configuration file has it, too");
  EXPECT_THAT(configuration->notes()[1],
              HasSubstr("port vm8 (by a script): device: dev-vm8 is already used at line"));
  EXPECT_THAT(configuration->notes()[2], HasSubstr(overlay + ".aside"));
  const auto aside = read_overlay(overlay + ".aside");
  ASSERT_TRUE(aside);
  EXPECT_EQ(aside->size(), 5u) << "nothing is lost";
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2", "vm6", "x", "vm5", "vm7", "vm9"));
  EXPECT_THAT(configuration->notes(), IsEmpty()) << "told once";
}

TEST_F(ConfigurationTest, ADamagedOverlayIsPutAsideAndTheFileIsStartedWith) {
  ASSERT_EQ(add_port("vm9", Lasting::Persistent), "");
  std::ofstream(overlay, std::ios::app) << "more\n";
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2"));
  EXPECT_THAT(configuration->notes(),
              ElementsAre("what scripts have changed persistently is lost: " + overlay +
                          ": is damaged, or was not written by vmnatd; it is kept as " + overlay + ".aside"));
  EXPECT_TRUE(std::filesystem::exists(overlay + ".aside"));
  EXPECT_EQ(add_port("vm9", Lasting::Persistent), "");
  restart();
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2", "vm9"));
}

TEST_F(ConfigurationTest, WhatCannotBeKeptIsNotDone) {
  std::ofstream(dir / "state") << "a file, where a directory should be";
  EXPECT_THAT(add_port("vm9", Lasting::Persistent), HasSubstr("overlay.yaml: cannot be written"));
  EXPECT_THAT(ports(), ElementsAre("vm1", "vm2"));
  EXPECT_EQ(add_port("vm9", Lasting::UntilRestart), "") << "that needs no file";
}

TEST_F(ConfigurationTest, ManyEditsAreOneOverlay) {
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(
        edit({"forward-add",
              {{"protocol", "tcp"}, {"external", std::to_string(10000 + i)}, {"to", "192.168.122.9:80"}},
              Lasting::Persistent}),
        "");
  restart();
  EXPECT_EQ(configuration->in_effect().networks[0].nat.forwards.size(), 101u);
}

}  // namespace
}  // namespace vmnat::control
