// SPDX-License-Identifier: Apache-2.0
// Devices that cannot be opened say why; a vhost-user port without a guest moves nothing.
#include "control/devices/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/system/link_state.h"

namespace vmnat::control {
namespace {

std::string refusal(const DeviceRequest& request, const KernelLinks* links = nullptr) {
  const auto device = Device::open(request, {}, links);
  return device ? std::string{} : to_string(device.error());
}

TEST(Device, WhatHoldsAFrameIsWholeKilobytesAndGrowsWithTheMtu) {
  constexpr unsigned ethernet = 14, tags = 8;
  unsigned before = 0;
  for (std::uint16_t mtu = 68; mtu <= 9600; ++mtu) {
    const unsigned bytes = buffer_bytes(mtu);
    EXPECT_GE(bytes, mtu + ethernet + tags) << mtu;
    EXPECT_EQ(bytes % 1024, 0u) << mtu;
    EXPECT_GE(bytes, before) << mtu;
    before = bytes;
  }
  EXPECT_EQ(buffer_bytes(1500), 2048u);
  EXPECT_EQ(buffer_bytes(9000), 10240u);
  EXPECT_EQ(buffer_bytes(65535), 10240u) << "what is longer is a chain";
}

TEST(Device, AnInterfaceThatIsNotThereIsNamed) {
  const auto links = KernelLinks::open();
  ASSERT_TRUE(links) << to_string(links.error());
  EXPECT_THAT(refusal({.name = "uplink", .device = "no-such-link"}, &*links),
              testing::HasSubstr("uplink: there is no kernel interface no-such-link"));
  EXPECT_EQ(set_link_up("no-such-link", true), ENODEV);
}

TEST(Device, AnInterfaceForXdpHasToBeThereAndBeOneOfTheKernels) {
  const auto links = KernelLinks::open();
  ASSERT_TRUE(links) << to_string(links.error());
  const auto with_xdp = [&](const std::string& interface) {
    return refusal({.name = "uplink", .device = interface, .driver = config::KernelDriver::Xdp}, &*links);
  };
  EXPECT_THAT(with_xdp("no-such-link"),
              testing::HasSubstr("uplink: there is no kernel interface no-such-link"));
  EXPECT_THAT(with_xdp("lo"), testing::StartsWith("uplink: driver: xdp: "));
}

TEST(XdpInterface, SaysThatDpdkHasNoSuchDriver) {
  EXPECT_THAT(xdp_refusal_of_machine("net_no_such_driver"),
              testing::HasSubstr("this DPDK was built without net_no_such_driver"));
}

TEST(XdpInterface, PollsAllChannelsOrNone) {
  const auto refusal = [](unsigned channels, unsigned queues, bool fewer_will_do) {
    return xdp_refusal_of_queues(
        channels, {.interface = "eth0", .queues = queues, .fewer_queues_will_do = fewer_will_do});
  };
  EXPECT_EQ(refusal(1, 1, false), "");
  EXPECT_EQ(refusal(4, 4, false), "");
  EXPECT_EQ(refusal(1, 4, true), "");
  EXPECT_EQ(refusal(8, 2, true), "") << "as many as there are";
  EXPECT_EQ(refusal(64, 1, true), "");
  EXPECT_EQ(refusal(1, 2, false), "eth0 has 1 channel, 2 queues are asked for");
  EXPECT_EQ(
      refusal(4, 1, false),
      "eth0 has 4 channels, and XDP would miss what comes by others than 1: queues: 4, or ethtool -L eth0 "
      "combined 1");
  EXPECT_EQ(refusal(65, 1, true),
            "eth0 has 65 channels, of which 64 can be polled: ethtool -L eth0 combined 64");
}

TEST(Device, NetVhostInDevargsNeedsItsSocket) {
  EXPECT_THAT(refusal({.name = "uplink", .device = "net_vhost0,queues=1"}),
              testing::HasSubstr("net_vhost needs iface="));
  EXPECT_THAT(refusal({.name = "uplink", .device = "net_vhost0"}),
              testing::HasSubstr("net_vhost needs iface="));
}

TEST(Device, NetVhostInDevargsNamesWhatItDoesNotKnow) {
  EXPECT_THAT(
      refusal({.name = "uplink", .device = "net_vhost0,iface=/tmp/vmnat-no-such/s,postcopy-support=1"}),
      testing::AllOf(testing::HasSubstr("uplink"), testing::HasSubstr("\"postcopy-support\"")));
}

TEST(Device, MoreQueuesThanNetVhostIsGivenAreRefused) {
  const std::string path = testing::TempDir() + "vmnat-device-test";
  EXPECT_THAT(refusal({.name = "uplink", .device = "net_vhost0,iface=" + path, .queues = 2}),
              testing::HasSubstr("has 1 queue, 2 are asked for"));
}

TEST(Device, ASocketsDirectoryThatCannotBeMadeIsNamed) {
  EXPECT_THAT(refusal({.name = "port vm1", .vhost_user = "/proc/no-such/vm1.sock"}),
              testing::HasSubstr("cannot create the directory of /proc/no-such/vm1.sock"));
}

TEST(VhostPort, WithoutAGuestNothingIsReceivedOrTaken) {
  dataplane::VhostPort port;
  rte_mbuf* frames[1] = {nullptr};
  for (const bool is_enabled : {false, true}) {
    port.set_enabled(0, is_enabled);
    port.set_enabled(1, is_enabled);
    EXPECT_EQ(port.receive(0, nullptr, frames, 1), 0);
    EXPECT_TRUE(port.transmit(0, frames, 1).sent.is_empty());
    EXPECT_FALSE(port.is_in_use());
  }
}

TEST(VhostPort, OpenQueuesAreThoseEnabledFromTheFirstOn) {
  dataplane::VhostPort port;
  EXPECT_EQ(port.open_receive_queues(), 0u);
  for (const unsigned ring : {0u, 2u, 6u}) port.set_enabled(ring, true);
  EXPECT_EQ(port.open_receive_queues(), 2u);
  port.set_enabled(2, false);
  EXPECT_EQ(port.open_receive_queues(), 1u);
  port.set_enabled(2 * dataplane::VhostPort::kMostQueues, true);  // beyond: no effect
}

TEST(VhostPort, KnowsItsGuestAndFeaturesUntilDetachedAndWhileItIsPaused) {
  dataplane::VhostPort port;
  EXPECT_FALSE(port.has_guest());
  port.attach(0x82);
  port.resume(dataplane::VhostPort::kDrivenHere);
  port.pause();
  EXPECT_TRUE(port.is_paused());
  EXPECT_TRUE(port.has_guest());
  EXPECT_EQ(port.features(), 0x82u);
  port.detach();
  EXPECT_FALSE(port.is_paused());
  EXPECT_FALSE(port.has_guest());
  EXPECT_EQ(port.features(), 0u);
}

}  // namespace
}  // namespace vmnat::control
