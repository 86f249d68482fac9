// SPDX-License-Identifier: Apache-2.0
// The layers of the overlay: what is left of edits that follow one another, and what they make of the file.
#include "control/changes/overlay.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <random>
#include <set>

#include "control/changes/overlay_file.h"
#include "tests/control/changes/changed_text.h"

namespace vmnat::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Makes wishes one after the other.
class Scripts {
 public:
  Scripts& persistent(const Wish& wish) { return make(wish, Lasting::Persistent); }
  Scripts& passing(const Wish& wish) { return make(wish, Lasting::UntilRestart); }

  [[nodiscard]] const Overlay& overlay() const { return overlay_; }
  [[nodiscard]] std::vector<std::string> ports() const { return ports_of(overlay_); }
  [[nodiscard]] std::vector<std::string> ports_after_restart() const {
    return ports_of({.persistent = overlay_.persistent, .until_restart = {}});
  }

 private:
  Scripts& make(const Wish& wish, Lasting lasting) {
    overlay_ = with_wish(std::move(overlay_), wish, lasting, file_document());
    return *this;
  }
  static std::vector<std::string> ports_of(const Overlay& overlay) {
    config::Document document = file_document();
    EXPECT_THAT(lay_over(overlay, document), IsEmpty());
    return port_names(config_of(document));
  }
  Overlay overlay_;
};

const Wish kNoVm1{port_id("vm1")}, kNoVm9{port_id("vm9")};

TEST(Overlay, WhatComesAndGoesLeavesNothing) {
  EXPECT_TRUE(Scripts().passing(port_wish("vm9", "veth9")).passing(kNoVm9).overlay().is_empty());
  EXPECT_TRUE(Scripts().persistent(port_wish("vm9", "veth9")).persistent(kNoVm9).overlay().is_empty());
}

TEST(Overlay, WhatTheFileHasIsTakenAwayUntilItIsWishedForAgain) {
  Scripts scripts;
  scripts.passing(kNoVm1);
  EXPECT_THAT(scripts.ports(), ElementsAre("vm2"));
  EXPECT_THAT(scripts.ports_after_restart(), ElementsAre("vm1", "vm2"));
  scripts.passing({port_id("vm1"), map_node({{"vhost_user", "/run/vm1.sock"}, {"name", "vm1"}})});
  EXPECT_TRUE(scripts.overlay().is_empty()) << "as the file has it";
}

TEST(Overlay, WhatTheFileHasIsReplacedByAnother) {
  Scripts scripts;
  scripts.persistent(kNoVm1).persistent(port_wish("vm1", "veth1"));
  ASSERT_EQ(scripts.overlay().persistent.size(), 1u);
  EXPECT_TRUE(scripts.overlay().persistent[0].removes);
  EXPECT_THAT(scripts.ports(), ElementsAre("vm2", "vm1"));
}

TEST(Overlay, APersistentPortThatIsTakenAwayForNowIsBackAfterARestart) {
  Scripts scripts;
  scripts.persistent(port_wish("vm9", "veth9")).passing(kNoVm9);
  EXPECT_THAT(scripts.ports(), ElementsAre("vm1", "vm2"));
  EXPECT_THAT(scripts.ports_after_restart(), ElementsAre("vm1", "vm2", "vm9"));
}

TEST(Overlay, APersistentRemovalTakesTheEditsForNowWithIt) {
  Scripts scripts;
  scripts.passing(kNoVm1).passing(port_wish("vm1", "veth1")).persistent(kNoVm1);
  EXPECT_THAT(scripts.ports(), ElementsAre("vm2"));
  EXPECT_THAT(scripts.ports_after_restart(), ElementsAre("vm2"));
  EXPECT_THAT(scripts.overlay().until_restart, IsEmpty());
}

TEST(Overlay, ANetworkGoesWithWhatScriptsHavePutIntoIt) {
  const Wish no_red{{Thing::Network, "red", "red"}};
  EXPECT_EQ(Scripts().persistent(port_wish("vm9", "veth9")).persistent(no_red).overlay().persistent.size(),
            1u);
  EXPECT_TRUE(
      Scripts().passing(port_wish("vm9", "veth9")).passing(no_red).overlay().until_restart[0].removes);
  const auto lab = map_node({{"name", "lab"}, {"address", "10.9.0.1/24"}});
  Scripts scripts;
  scripts.passing({{Thing::Network, "lab", "lab"}, lab})
      .passing({port_id("l1", "lab"), map_node({{"name", "l1"}, {"device", "vethl"}})})
      .passing({{Thing::Network, "lab", "lab"}});
  EXPECT_TRUE(scripts.overlay().is_empty());
}

TEST(Overlay, AnEditThatTheFileMakesPointlessIsDropped) {
  Overlay overlay = Scripts().persistent(kNoVm1).passing({{Thing::Network, "blue", "blue"}}).overlay();
  EXPECT_EQ(without_pointless(overlay, file_document()).persistent.size(), 1u);
  const auto file = file_document(
      "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks: [{name: red, address: 192.168.122.1/24}]\n");
  EXPECT_TRUE(without_pointless(overlay, file).is_empty());
}

TEST(Overlay, ADrainGoesWithItsAddress) {
  const Wish drain{{Thing::Drain, "red", "203.0.113.17"}, config::scalar_node("203.0.113.17")};
  const Overlay overlay = Scripts().persistent(drain).overlay();
  EXPECT_EQ(without_pointless(overlay, file_document()).persistent.size(), 1u);
  const auto file = file_document(
      "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks: [{name: red, address: 192.168.122.1/24, nat: {addresses: [203.0.113.16]}}]\n");
  EXPECT_TRUE(without_pointless(overlay, file).is_empty());
}

TEST(Overlay, WhatTheFileHasTooIsToldAndTheRestIsMade) {
  const Overlay overlay =
      Scripts().persistent(port_wish("vm8", "veth8")).passing(port_wish("vm9", "veth9")).overlay();
  auto file = file_document();
  ASSERT_EQ(apply({.id = port_id("vm8"), .adds = map_node({{"name", "vm8"}, {"device", "other"}})},
                  config::Origin::File, file),
            std::nullopt);
  const auto refusals = lay_over(overlay, file);
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].sentence, "port vm8 (by a script): the configuration file has it, too");
  EXPECT_THAT(port_names(config_of(file)), ElementsAre("vm1", "vm2", "vm8", "vm9"));
}

using Names = std::set<std::string>;

void take(Names& names, const Wish& wish) {
  names.erase(wish.id.name);
  if (wish.value) names.insert(wish.id.name);
}

Names names_of(const std::vector<std::string>& ports) {
  return {ports.begin(), ports.end()};
}

// At most one edit of a thing.
bool has_no_two_of_one(const std::vector<Edit>& layer) {
  return std::ranges::all_of(
      layer, [&](const Edit& edit) { return std::ranges::count(layer, edit.id, &Edit::id) == 1; });
}

// Against a set of names: whatever scripts do, each layer makes what was wished for last.
TEST(Overlay, AnySequenceOfWishesMakesWhatWasWishedForLast) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Scripts scripts;
    Names now{"vm1", "vm2"}, later = now;
    for (int step = 0; step < 8; ++step) {
      const std::string name = "vm" + std::to_string(1 + random() % 4);
      const auto version = random() % 3;  // 0: the port is not wished for
      const Wish wish =
          version == 0 ? Wish{port_id(name)} : port_wish(name, name + "-" + std::to_string(version));
      const bool is_persistent = random() % 2 == 0;
      take(now, wish);
      if (is_persistent) take(later, wish);
      if (is_persistent)
        scripts.persistent(wish);
      else
        scripts.passing(wish);
    }
    EXPECT_EQ(names_of(scripts.ports()), now) << round;
    EXPECT_EQ(names_of(scripts.ports_after_restart()), later) << round;
    EXPECT_TRUE(has_no_two_of_one(scripts.overlay().persistent)) << round;
    EXPECT_TRUE(has_no_two_of_one(scripts.overlay().until_restart)) << round;
  }
}

}  // namespace
}  // namespace vmnat::control
