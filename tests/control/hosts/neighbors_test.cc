// SPDX-License-Identifier: Apache-2.0
// Neighbors against a clock and a link that the test owns.
#include "control/hosts/neighbors.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

#include "net/wire.h"

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;
using State = Neighbors::State;

constexpr net::MacAddr kOwnMac{{0x52, 0x54, 0, 0, 0, 1}};
constexpr net::MacAddr kPeerMac{{0x02, 0, 0, 0, 0, 0xbb}};
constexpr PortIndex kVm = 1, kOtherVm = 2;
constexpr net::MacAddr kOtherMac{{0x02, 0, 0, 0, 0, 0xcc}};
const auto kOwn = net::Ipv4Addr::of(203, 0, 113, 2);
const auto kPeer = net::Ipv4Addr::of(203, 0, 113, 1);

const net::EthernetHeader& ethernet(const FrameBytes& frame) {
  return *net::view<net::EthernetHeader>(frame);
}
const net::ArpPacket& arp(const FrameBytes& frame) {
  return *net::view<net::ArpPacket>(frame, sizeof(net::EthernetHeader));
}
bool is_arp(const FrameBytes& frame) {
  return ethernet(frame).type == net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Arp));
}

FrameBytes arp_frame(net::ArpOperation operation, net::Ipv4Addr sender, net::MacAddr mac,
                     net::MacAddr to = kOwnMac) {
  const net::EthernetHeader header{
      .destination = to,
      .source = mac,
      .type = net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Arp))};
  const net::ArpPacket packet{.hardware_type = net::Be16::from_host(1),
                              .protocol_type = net::Be16::from_host(0x0800),
                              .hardware_length = 6,
                              .protocol_length = 4,
                              .operation = net::Be16::from_host(static_cast<std::uint16_t>(operation)),
                              .sender_mac = mac,
                              .sender_address = sender,
                              .target_mac = kOwnMac,
                              .target_address = kOwn};
  FrameBytes frame(60);
  std::memcpy(frame.data(), &header, sizeof header);
  std::memcpy(frame.data() + sizeof header, &packet, sizeof packet);
  return frame;
}

// A frame that waits, told apart by its length.
FrameBytes frame_of(std::size_t size) {
  return FrameBytes(size);
}

struct NeighborsTest : ::testing::Test {
  Neighbors neighbors{kOwnMac, kOwn};
  SteadyTime now{1000s};

  void wait(std::chrono::milliseconds time) {
    now += time;
    neighbors.advance(now);
  }
  void reply(net::MacAddr mac, net::Ipv4Addr from = kPeer) {
    neighbors.receive_arp(arp_frame(net::ArpOperation::Reply, from, mac), now);
  }
  // As a station that has moved does: gratuitous ARP.
  void announce(net::MacAddr mac, net::ArpOperation operation = net::ArpOperation::Request) {
    neighbors.receive_arp(arp_frame(operation, kPeer, mac, net::kBroadcastMac), now);
  }
  State state(net::Ipv4Addr address = kPeer) { return neighbors.all().at(address).state; }
  bool knows(net::Ipv4Addr address = kPeer) { return neighbors.all().contains(address); }
  // Where the requests sent since the last call went, and nothing else was sent.
  std::vector<net::MacAddr> asked() {
    std::vector<net::MacAddr> destinations;
    for (const FrameBytes& frame : neighbors.take_output()) {
      EXPECT_TRUE(is_arp(frame));
      destinations.push_back(ethernet(frame).destination);
    }
    return destinations;
  }
  void make_reachable() {
    neighbors.keep_resolved(kPeer, now);
    reply(kPeerMac);
    asked();
    EXPECT_TRUE(neighbors.take_changed());
  }
};

using Macs = std::vector<net::MacAddr>;

TEST_F(NeighborsTest, AsksByBroadcastAndSendsWhatWaitedInOrder) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  neighbors.send_to(kPeer, frame_of(101), kVm, now);
  const auto requests = neighbors.take_output();
  ASSERT_EQ(requests.size(), 1u) << "one request, however many frames wait";
  EXPECT_EQ(requests[0].size(), 60u);
  EXPECT_EQ(ethernet(requests[0]).destination, net::kBroadcastMac);
  EXPECT_EQ(ethernet(requests[0]).source, kOwnMac);
  EXPECT_EQ(arp(requests[0]).op(), net::ArpOperation::Request);
  EXPECT_EQ(arp(requests[0]).sender_mac, kOwnMac);
  EXPECT_EQ(arp(requests[0]).sender_address, kOwn);
  EXPECT_EQ(arp(requests[0]).target_address, kPeer);
  EXPECT_EQ(state(), State::Incomplete);

  reply(kPeerMac);
  EXPECT_EQ(state(), State::Reachable);
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
  EXPECT_TRUE(neighbors.take_changed());
  EXPECT_FALSE(neighbors.take_changed());
  const auto sent = neighbors.take_output();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].size(), 100u);
  EXPECT_EQ(sent[1].size(), 101u);
  EXPECT_EQ(ethernet(sent[0]).destination, kPeerMac);
  EXPECT_EQ(ethernet(sent[0]).source, kOwnMac);
  neighbors.send_to(kPeer, frame_of(102), kVm, now);
  EXPECT_EQ(neighbors.take_output().size(), 1u) << "known by now: sent at once";
}

TEST_F(NeighborsTest, AsksOnceASecondThreeTimesThenTheNeighborIsSilentForAWhile) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  EXPECT_TRUE(neighbors.take_changed()) << "workers hear of whom is asked for";
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  wait(999ms);
  EXPECT_EQ(asked(), Macs{});
  wait(1ms);
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  wait(1s);
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  EXPECT_EQ(state(), State::Incomplete);
  EXPECT_FALSE(neighbors.take_changed());
  wait(1s);
  EXPECT_EQ(state(), State::Silent);
  EXPECT_TRUE(neighbors.take_changed());
  EXPECT_EQ(neighbors.counts().requests, 3u);
  EXPECT_EQ(neighbors.counts().failed, 1u);
  EXPECT_EQ(neighbors.counts().waiting_dropped, 1u);
  neighbors.send_to(kPeer, frame_of(101), kOtherVm, now);
  EXPECT_EQ(neighbors.counts().waiting_dropped, 2u) << "nothing waits for it";
  const auto unreachable = neighbors.take_unreachable();
  ASSERT_EQ(unreachable.size(), 2u) << "their senders are to be told";
  EXPECT_EQ(unreachable[0].frame, frame_of(100)) << "untouched";
  EXPECT_EQ(unreachable[0].port, kVm);
  EXPECT_EQ(unreachable[1].port, kOtherVm);
  EXPECT_TRUE(neighbors.take_unreachable().empty());
  wait(2999ms);
  EXPECT_EQ(asked(), Macs{});
  EXPECT_EQ(state(), State::Silent);
  wait(1ms);
  EXPECT_FALSE(knows());
  EXPECT_TRUE(neighbors.take_changed());
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac}) << "asked for anew";
}

TEST_F(NeighborsTest, AFloodToASilentNeighborDoesNotKeepItAskedFor) {
  for (int i = 0; i < 310; ++i) {
    neighbors.send_to(kPeer, frame_of(100), kVm, now);
    wait(10ms);
  }
  EXPECT_EQ(state(), State::Silent);
  EXPECT_EQ(neighbors.counts().requests, 3u);
}

TEST_F(NeighborsTest, ALateAnswerOfASilentNeighborIsBelieved) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  for (int i = 0; i < 3; ++i) wait(1s);
  ASSERT_EQ(state(), State::Silent);
  reply(kPeerMac);
  EXPECT_EQ(state(), State::Reachable);
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
}

TEST_F(NeighborsTest, EachFrameForTheGatewayWaitsItsOwnThreeSeconds) {
  neighbors.keep_resolved(kPeer, now);
  wait(1s);
  wait(1s);
  wait(990ms);  // 10 ms before the third request has gone unanswered
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  wait(10ms);
  EXPECT_EQ(neighbors.counts().failed, 1u);
  EXPECT_EQ(neighbors.counts().waiting_dropped, 0u) << "10 ms old";
  wait(2s);
  neighbors.send_to(kPeer, frame_of(101), kVm, now);
  wait(990ms);
  EXPECT_EQ(neighbors.counts().waiting_dropped, 1u) << "3 s old; the other one 990 ms";
  ASSERT_EQ(neighbors.take_unreachable().size(), 1u);
  asked();
  reply(kPeerMac);
  const auto sent = neighbors.take_output();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].size(), 101u);
}

// The i-th of many hosts.
net::Ipv4Addr host(std::size_t i) {
  return net::Ipv4Addr::from_host(0x0a000000 + static_cast<std::uint32_t>(i));
}

TEST_F(NeighborsTest, TheWaitingQueueOfANeighborIsBounded) {
  for (std::size_t i = 0; i < Neighbors::kWaitingPerNeighbor + 2; ++i)
    neighbors.send_to(kPeer, frame_of(100), kVm, now);
  EXPECT_EQ(neighbors.waiting_for(kPeer), Neighbors::kWaitingPerNeighbor);
  EXPECT_EQ(neighbors.counts().waiting_dropped, 2u);
  neighbors.take_output();
  reply(kPeerMac);
  EXPECT_EQ(neighbors.take_output().size(), Neighbors::kWaitingPerNeighbor);
  EXPECT_EQ(neighbors.waiting_for(kPeer), 0u);
}

TEST_F(NeighborsTest, OnePortsFramesForANeighborMakeRoomForAnothers) {
  for (std::size_t i = 0; i < Neighbors::kWaitingPerNeighbor; ++i)
    neighbors.send_to(kPeer, frame_of(100 + i), kVm, now);
  for (std::size_t i = 0; i < Neighbors::kWaitingPerNeighbor; ++i)
    neighbors.send_to(kPeer, frame_of(200 + i), kOtherVm, now);
  neighbors.take_output();
  reply(kPeerMac);
  std::vector<std::size_t> sizes;
  for (const FrameBytes& frame : neighbors.take_output()) sizes.push_back(frame.size());
  EXPECT_EQ(sizes, (std::vector<std::size_t>{104, 105, 106, 107, 200, 201, 202, 203}));
}

TEST_F(NeighborsTest, OnePortsWaitingFramesAreBoundedAndThoseOfManyMakeRoomForOneMore) {
  std::size_t at = 0;
  for (PortIndex port = 1; port <= Neighbors::kWaitingInAll / Neighbors::kWaitingPerPort; ++port)
    for (std::size_t i = 0; i < Neighbors::kWaitingPerPort + 1; ++i)
      neighbors.send_to(host(at++), frame_of(100), port, now);
  const std::uint64_t over = Neighbors::kWaitingInAll / Neighbors::kWaitingPerPort;
  EXPECT_EQ(neighbors.counts().waiting_dropped, over) << "a port's thirty-third, each";
  neighbors.send_to(kPeer, frame_of(101), 99, now);
  EXPECT_EQ(neighbors.waiting_for(kPeer), 1u) << "the ports that have most make room";
  EXPECT_EQ(neighbors.counts().waiting_dropped, over + 1);
}

TEST_F(NeighborsTest, AVmThatScansTheLinkHasSoManyUnansweredAndLeavesAnotherItsOwn) {
  for (std::size_t i = 0; i < 1000; ++i) neighbors.send_to(host(i), frame_of(60), kVm, now);
  EXPECT_EQ(neighbors.all().size(), Neighbors::kUnansweredPerPort);
  EXPECT_EQ(asked().size(), Neighbors::kUnansweredPerPort) << "and asks no more than that on the link";
  neighbors.send_to(kPeer, frame_of(100), kOtherVm, now);
  EXPECT_EQ(asked().size(), 1u);
  reply(kPeerMac);
  EXPECT_EQ(neighbors.take_output().size(), 1u);
  for (std::size_t i = 0; i < Neighbors::kUnansweredPerPort; ++i) reply(kOtherMac, host(i));
  neighbors.take_output();
  neighbors.send_to(host(5000), frame_of(100), kVm, now);
  EXPECT_EQ(asked().size(), 1u) << "once they are answered it may ask on";
}

TEST_F(NeighborsTest, AFullTableGivesUpWhoIsSilentThenWhomTheGreediestPortHas) {
  neighbors.keep_resolved(kPeer, now);
  const auto fill = [&](std::size_t begin, std::size_t end, PortIndex port) {
    for (std::size_t i = begin; i < end; ++i) {
      neighbors.send_to(host(i), frame_of(60), port, now);
      reply(kOtherMac, host(i));
    }
  };
  fill(0, 10, kOtherVm);
  neighbors.send_to(host(9999), frame_of(60), kOtherVm, now);
  for (int i = 0; i < 3; ++i) wait(1s);
  ASSERT_EQ(state(host(9999)), State::Silent);
  fill(10, Neighbors::kMaxNeighbors - 2, kVm);
  ASSERT_EQ(neighbors.all().size(), Neighbors::kMaxNeighbors);
  neighbors.send_to(host(20'000), frame_of(60), kVm, now);
  EXPECT_FALSE(knows(host(9999))) << "the silent one";
  reply(kOtherMac, host(20'000));
  neighbors.send_to(host(20'001), frame_of(60), kOtherVm, now);
  EXPECT_TRUE(knows(host(20'001)));
  EXPECT_FALSE(knows(host(10))) << "the oldest one of the port that has most";
  for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(knows(host(i)));
  EXPECT_TRUE(knows(kPeer)) << "never the gateway";
}

TEST_F(NeighborsTest, NoMoreNeighborsThanTheBoundAreEverHeld) {
  for (std::size_t i = 0; i < Neighbors::kMaxNeighbors + 10; ++i)
    neighbors.send_to(host(i), frame_of(60), static_cast<PortIndex>(i % 100), now);
  EXPECT_EQ(neighbors.all().size(), Neighbors::kMaxNeighbors);
}

TEST_F(NeighborsTest, AReachableNeighborIsProbedByUnicastFirstThenByBroadcast) {
  make_reachable();
  wait(30s - 1ms);
  EXPECT_EQ(asked(), Macs{});
  wait(1ms);
  EXPECT_EQ(state(), State::Probing);
  EXPECT_EQ(asked(), Macs{kPeerMac});
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac) << "used while it is probed";
  wait(1s);
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  reply(kPeerMac);
  EXPECT_EQ(state(), State::Reachable);
  EXPECT_FALSE(neighbors.take_changed());
  wait(30s - 1ms);
  EXPECT_EQ(asked(), Macs{}) << "30 s from its last answer on";
}

TEST_F(NeighborsTest, ANeighborMayAnswerTheBroadcastFromANewMac) {
  make_reachable();
  wait(30s);
  wait(1s);
  EXPECT_EQ(asked(), (Macs{kPeerMac, net::kBroadcastMac}));
  reply(kOtherMac);
  EXPECT_EQ(neighbors.mac_of(kPeer), kOtherMac) << "the old one has had its second";
  EXPECT_TRUE(neighbors.take_changed());
}

TEST_F(NeighborsTest, ASilentGatewaysLastMacIsUsedWhileItIsAskedForForever) {
  make_reachable();
  wait(30s);
  wait(1s);
  wait(1s);
  asked();
  for (const auto pause : {1s, 2s, 4s, 4s, 4s}) {
    wait(pause);
    EXPECT_EQ(asked(), Macs{net::kBroadcastMac}) << "at last every four seconds";
    EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
    EXPECT_EQ(state(), State::Probing);
  }
  EXPECT_FALSE(neighbors.take_changed()) << "the workers notice nothing";
  EXPECT_EQ(neighbors.counts().failed, 1u);
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  EXPECT_EQ(neighbors.take_output().size(), 1u) << "what still comes goes out";
  reply(kOtherMac);
  EXPECT_EQ(neighbors.mac_of(kPeer), kOtherMac);
  EXPECT_TRUE(neighbors.take_changed());
}

TEST_F(NeighborsTest, AGatewayThatNeverAnsweredIsAskedForForeverAndFramesMayWait) {
  neighbors.keep_resolved(kPeer, now);
  for (int i = 0; i < 30; ++i) wait(1s);
  EXPECT_EQ(state(), State::Incomplete);
  EXPECT_GE(asked().size(), 9u);
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  reply(kPeerMac);
  EXPECT_EQ(neighbors.take_output().size(), 1u);
}

TEST_F(NeighborsTest, OneThatWasAskedForByAFrameMayBecomeTheGateway) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  neighbors.keep_resolved(kPeer, now);
  for (int i = 0; i < 10; ++i) wait(1s);
  EXPECT_EQ(state(), State::Incomplete);
  for (std::size_t i = 0; i < Neighbors::kUnansweredPerPort; ++i)
    neighbors.send_to(host(i), frame_of(60), kVm, now);
  EXPECT_EQ(neighbors.all().size(), Neighbors::kUnansweredPerPort + 1) << "it counts for no port any more";
}

TEST_F(NeighborsTest, ANeighborThatFallsSilentIsNotUsedAndThenForgotten) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  reply(kPeerMac);
  EXPECT_TRUE(neighbors.take_changed());
  wait(30s);
  for (int i = 0; i < 3; ++i) wait(1s);
  EXPECT_EQ(state(), State::Silent);
  EXPECT_TRUE(neighbors.mac_of(kPeer).is_zero());
  EXPECT_TRUE(neighbors.take_changed());
  wait(3s);
  EXPECT_FALSE(knows());
}

TEST_F(NeighborsTest, WhoWasNotAskedForIsNotMadeKnown) {
  for (const auto operation : {net::ArpOperation::Request, net::ArpOperation::Reply}) {
    announce(kOtherMac, operation);
    neighbors.receive_arp(arp_frame(operation, kPeer, kOtherMac), now);
  }
  EXPECT_FALSE(knows());
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  reply(net::kBroadcastMac);
  reply(net::MacAddr{});
  reply(kOwnMac);
  EXPECT_EQ(state(), State::Incomplete) << "no other station has such a MAC";
}

TEST_F(NeighborsTest, NobodyHasNoAddress) {
  neighbors.send_to({}, frame_of(100), kVm, now);
  neighbors.keep_resolved({}, now);
  EXPECT_FALSE(knows({}));
  EXPECT_EQ(asked(), Macs{});
  reply(kOtherMac, {});
  EXPECT_TRUE(neighbors.mac_of({}).is_zero());
  EXPECT_EQ(neighbors.counts().waiting_dropped, 1u);
}

// RFC 826: the sender's address is merged before the operation is looked at.
TEST_F(NeighborsTest, WhoIsAskedForIsLearnedFromAnyArpPacketOfItsOwn) {
  for (const auto operation : {net::ArpOperation::Request, net::ArpOperation::Reply})
    for (const net::MacAddr to : {kOwnMac, net::kBroadcastMac}) {
      Neighbors fresh{kOwnMac, kOwn};
      fresh.send_to(kPeer, frame_of(100), kVm, now);
      fresh.receive_arp(arp_frame(operation, kPeer, kPeerMac, to), now);
      EXPECT_EQ(fresh.mac_of(kPeer), kPeerMac);
      EXPECT_EQ(fresh.all().at(kPeer).state, State::Reachable);
    }
}

// A router that has failed over says so, or is but heard from its new MAC.
TEST_F(NeighborsTest, AFailoverIsFollowedAHundredMillisecondsAfterItIsHeardOf) {
  for (const auto operation : {net::ArpOperation::Request, net::ArpOperation::Reply}) {
    neighbors.start_over(kOwn);
    make_reachable();
    announce(kOtherMac, operation);
    EXPECT_EQ(asked(), (Macs{kPeerMac, kOtherMac})) << "both";
    wait(1ms);
    reply(kOtherMac);
    wait(98ms);
    EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
    EXPECT_FALSE(neighbors.take_changed());
    wait(1ms);
    EXPECT_EQ(neighbors.mac_of(kPeer), kOtherMac);
    EXPECT_TRUE(neighbors.take_changed());
    EXPECT_EQ(state(), State::Reachable) << "it has answered";
    EXPECT_EQ(asked(), Macs{});
  }
  EXPECT_EQ(neighbors.counts().moved, 2u);
}

TEST_F(NeighborsTest, OneThatDoesNotAnswerFromItsNewMacIsAskedForByAll) {
  make_reachable();
  announce(kOtherMac);
  asked();
  wait(100ms);
  EXPECT_EQ(neighbors.mac_of(kPeer), kOtherMac) << "nobody stands against it";
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  reply(kPeerMac);
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac) << "it was but slow";
  EXPECT_EQ(state(), State::Reachable);
}

TEST_F(NeighborsTest, ALiarIsNotBelievedHoweverFastItIs) {
  make_reachable();
  announce(kOtherMac);
  reply(kOtherMac);
  wait(99ms);
  reply(kPeerMac);
  wait(1s);
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
  EXPECT_FALSE(neighbors.take_changed());
  EXPECT_EQ(neighbors.counts().claims_refuted, 1u);
  EXPECT_EQ(neighbors.counts().moved, 0u);
}

TEST_F(NeighborsTest, ALiarThatShoutsIsLookedAfterOnceASecond) {
  make_reachable();
  std::size_t requests = 0;
  for (int i = 0; i < 5000; ++i) {  // 5 s
    announce(kOtherMac);
    if (neighbors.all().at(kPeer).requests_sent != 0 || i % 3 == 1) reply(kPeerMac);
    requests += asked().size();
    wait(1ms);
  }
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
  EXPECT_LE(requests, 5u * 3 + 3) << "two for a claim, and whoever had a rival is asked again";
}

TEST_F(NeighborsTest, WhileALiarShoutsAFailoverIsFollowed) {
  const net::MacAddr new_mac{{0x02, 0, 0, 0, 0, 0xdd}};
  make_reachable();
  announce(kOtherMac);
  reply(kPeerMac);
  for (int i = 0; i < 400 && neighbors.mac_of(kPeer) == kPeerMac; ++i) {
    announce(kOtherMac);
    announce(new_mac);
    wait(1ms);
  }
  EXPECT_EQ(neighbors.mac_of(kPeer), new_mac);
}

TEST_F(NeighborsTest, WhoHadARivalIsAskedAgainSoonForItMayBeAboutToGo) {
  make_reachable();
  announce(kOtherMac);
  reply(kPeerMac);
  asked();
  wait(1s);
  EXPECT_EQ(asked(), Macs{kPeerMac});
  wait(1s);
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  reply(kOtherMac);
  EXPECT_EQ(neighbors.mac_of(kPeer), kOtherMac);
}

TEST_F(NeighborsTest, ClaimsOfManyNeighboursAreBoundedButForTheGateway) {
  for (std::size_t i = 0; i < 200; ++i) {
    neighbors.send_to(host(i), frame_of(60), static_cast<PortIndex>(1 + i % 8), now);
    reply(kPeerMac, host(i));
  }
  neighbors.take_output();
  make_reachable();
  for (std::size_t i = 0; i < 200; ++i) reply(kOtherMac, host(i));
  EXPECT_EQ(asked().size(), 2 * MacClaims::kAtOnce);
  announce(kOtherMac);
  EXPECT_EQ(asked().size(), 2u);
}

TEST_F(NeighborsTest, WhenTheLinkReturnsAllAreAskedAnewByBroadcastAndUsedMeanwhile) {
  for (std::size_t i = 0; i < 200; ++i) {
    neighbors.send_to(host(i), frame_of(60), static_cast<PortIndex>(1 + i % 8), now);
    reply(kOtherMac, host(i));
  }
  neighbors.take_output();
  make_reachable();
  neighbors.link_returned(now);
  wait(0ms);
  EXPECT_EQ(asked(), Macs(1 + Neighbors::kAskedAtOnce, net::kBroadcastMac))
      << "the gateway is among the first";
  EXPECT_EQ(neighbors.mac_of(kPeer), kPeerMac);
  EXPECT_FALSE(neighbors.take_changed());
  for (int i = 0; i < 3; ++i) wait(100ms);
  EXPECT_EQ(asked().size(), 200 - Neighbors::kAskedAtOnce);
  reply(kOtherMac);
  EXPECT_EQ(neighbors.mac_of(kPeer), kOtherMac) << "it may be another link";
  reply(kOtherMac, host(1));
  EXPECT_EQ(state(host(1)), State::Reachable);
  for (int i = 0; i < 4; ++i) wait(1s);
  EXPECT_EQ(state(host(2)), State::Silent);
}

TEST_F(NeighborsTest, WhenTheLinkReturnsWhoIsAwaitedIsAskedForAgain) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  wait(1s);
  asked();
  neighbors.link_returned(now);
  wait(0ms);
  EXPECT_EQ(asked(), Macs{net::kBroadcastMac});
  EXPECT_EQ(neighbors.all().at(kPeer).requests_sent, 1);
}

// Whatever comes in whatever order: the bounds hold, and every frame goes out, waits, or is counted.
TEST_F(NeighborsTest, BoundsHoldAndNoFrameIsLostUncounted) {
  std::mt19937 random(3);
  neighbors.keep_resolved(kPeer, now);
  std::uint64_t given = 0, gone = 0;
  for (int step = 0; step < 60'000; ++step) {
    const std::size_t number = random() % 6000;
    const auto port = static_cast<PortIndex>(random() % 12);
    switch (random() % 8) {
      case 0:
        now += std::chrono::milliseconds(random() % 400);
        neighbors.advance(now);
        break;
      case 1:
        reply(random() % 2 == 0 ? kPeerMac : kOtherMac, random() % 16 == 0 ? kPeer : host(number));
        break;
      case 2:
        if (random() % 1000 == 0) neighbors.keep_resolved(host(number), now);
        if (random() % 1000 == 1) neighbors.link_returned(now);
        neighbors.take_unreachable();
        break;
      default:
        neighbors.send_to(random() % 8 == 0 ? kPeer : host(number), frame_of(100), port, now);
        ++given;
    }
    for (const FrameBytes& frame : neighbors.take_output()) gone += is_arp(frame) ? 0 : 1;
    if (step % 500 != 0) continue;
    std::map<PortIndex, std::size_t> unanswered;
    std::size_t waiting = 0;
    for (const auto& [address, neighbor] : neighbors.all()) {
      if (neighbor.state == State::Incomplete && !neighbor.is_permanent) ++unanswered[neighbor.port];
      EXPECT_LE(neighbors.waiting_for(address), Neighbors::kWaitingPerNeighbor);
      waiting += neighbors.waiting_for(address);
    }
    for (const auto& [of_port, count] : unanswered)
      EXPECT_LE(count, Neighbors::kUnansweredPerPort) << of_port;
    EXPECT_LE(neighbors.all().size(), Neighbors::kMaxNeighbors + 60) << "but for permanent ones";
    EXPECT_LE(waiting, Neighbors::kWaitingInAll);
    EXPECT_EQ(given, gone + waiting + neighbors.counts().waiting_dropped);
    EXPECT_TRUE(knows(kPeer));
  }
  EXPECT_GT(gone, 0u);
}

TEST_F(NeighborsTest, ShortAndForeignFramesAreIgnored) {
  neighbors.send_to(kPeer, frame_of(100), kVm, now);
  const FrameBytes whole = arp_frame(net::ArpOperation::Reply, kPeer, kPeerMac);
  for (std::size_t size = 0; size < sizeof(net::EthernetHeader) + sizeof(net::ArpPacket); ++size)
    neighbors.receive_arp(std::span(whole).first(size), now);
  FrameBytes foreign = whole;
  foreign[sizeof(net::EthernetHeader) + 1] = std::byte{6};  // not Ethernet's hardware type
  neighbors.receive_arp(foreign, now);
  EXPECT_EQ(state(), State::Incomplete);
}

}  // namespace
}  // namespace vmnat::control
