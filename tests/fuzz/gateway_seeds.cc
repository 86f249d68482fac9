// SPDX-License-Identifier: Apache-2.0
// What the fuzzers of the packet path start from: frames of every kind, built here, and the cases of the
// behaviour suite, recorded in corpus.hex by `VMNAT_RECORD=FILE tests/e2e/nat_behaviour.py`. A line
// there is a case: words of PORT:HEX, one a frame, in their order.
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/fuzz/gateway.h"
#include "tests/support/testbed.h"

namespace vmnat::fuzz {
namespace {

using namespace test;

Bytes bytes_of(const std::string& hex) {
  Bytes bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes.push_back(static_cast<std::byte>(std::stoul(hex.substr(at, 2), nullptr, 16)));
  return bytes;
}

std::vector<Input> recorded_cases() {
  std::ifstream file(VMNAT_CORPUS);
  if (!file) throw std::runtime_error("cannot read " VMNAT_CORPUS);
  std::vector<Input> inputs;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    Input input{static_cast<std::uint8_t>(inputs.size())};
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      const std::size_t colon = word.find(':');
      add_step(input, static_cast<std::uint8_t>(std::stoul(word.substr(0, colon))),
               bytes_of(word.substr(colon + 1)));
    }
    inputs.push_back(std::move(input));
  }
  return inputs;
}

std::vector<Bytes> kinds(const std::function<Packet()>& flow, const Bytes& error) {
  return {flow().udp().frame(),
          flow().udp().payload(1200).options(2).frame(),
          flow().tcp(net::TcpHeader::kSyn).frame(),
          flow().tcp(net::TcpHeader::kAck).payload(300).frame(),
          flow().icmp_echo(net::IcmpType::EchoRequest, 40002).frame(),
          flow().icmp_echo(net::IcmpType::EchoReply, 40002).frame(),
          flow().protocol(47).frame(),
          flow().udp().fragment(0x2000).frame(),
          flow().udp().fragment(0x0010).frame(),
          flow().udp().payload(2500).frame(),
          error};
}

// A burst of TCP segments for vm1 that follow each other; one of them may come damaged.
Input train(std::uint8_t which, unsigned count, unsigned damaged) {
  Input input{which};
  std::uint32_t sequence = 1000;
  for (unsigned i = 0; i < count; ++i) {
    const bool is_last = i + 1 == count;
    const std::size_t size = is_last ? 100 : 300;
    const std::uint8_t flags = net::TcpHeader::kAck | (is_last ? net::TcpHeader::kPsh : 0);
    const Packet packet = Packet()
                              .from(kRouterMac, "198.51.100.2", 53)
                              .to(kUplinkMac, "203.0.113.2", 40001)
                              .tcp(flags)
                              .sequence(sequence)
                              .fragment(0x4000)
                              .payload(size);
    sequence += static_cast<std::uint32_t>(size);
    Bytes frame = packet.frame();
    if (i == damaged) frame.back() ^= std::byte{1};
    add_step(input, kUplink, frame, is_last ? 0 : kSameBurst);
  }
  return input;
}

}  // namespace

std::vector<Bytes> frames_of_every_kind(Side side) {
  const Bytes out =
      Packet().from(vm_mac(1), "192.168.122.10", 40000).to(kRedMac, "198.51.100.2", 53).udp().frame();
  const Bytes outside =
      Packet().from(kUplinkMac, "203.0.113.2", 40000).to(kRouterMac, "198.51.100.2", 53).udp().frame();
  const Bytes inside =
      Packet().from(kRedMac, "198.51.100.2", 53).to(vm_mac(1), "192.168.122.10", 40000).udp().frame();
  std::vector<Bytes> frames;
  const auto unreachable = net::IcmpType::DestinationUnreachable;
  if (side == Side::Vms) {
    const auto flow = [] {
      return Packet().from(vm_mac(1), "192.168.122.10", 40000).to(kRedMac, "198.51.100.2", 53);
    };
    frames = kinds(flow, flow().icmp_error(unreachable, 3, quoted(inside, 8)).frame());
    frames.push_back(
        Packet().from(vm_mac(1), "192.168.122.10", 40004).to(kRedMac, "203.0.113.2", 8080).tcp(2).frame());
    frames.push_back(
        arp(net::ArpOperation::Request, vm_mac(1), "192.168.122.10", {}, "192.168.122.1", kRedMac));
  } else {
    const auto flow = [] {
      return Packet().from(kRouterMac, "198.51.100.2", 53).to(kUplinkMac, "203.0.113.2", 40000);
    };
    frames = kinds(flow, flow().icmp_error(unreachable, 3, quoted(outside, 8)).frame());
    frames.push_back(
        Packet().from(kRouterMac, "198.51.100.9", 7).to(kUplinkMac, "203.0.113.2", 8080).tcp(2).frame());
    frames.push_back(
        arp(net::ArpOperation::Request, kRouterMac, "203.0.113.1", {}, "203.0.113.2", kUplinkMac));
  }
  return frames;
}

std::vector<Input> gateway_seeds(Side side) {
  std::vector<Input> inputs = recorded_cases();
  for (std::uint8_t which = 0; which < 4 && side == Side::Uplink; ++which)
    for (const unsigned damaged : {0, 1, 7, 8}) inputs.push_back(train(which, 8, damaged));
  for (const Bytes& frame : frames_of_every_kind(side))
    for (std::uint8_t which = 0; which < 4; ++which) {
      Input input{which};
      add_step(input, side == Side::Vms ? kVm1 : kUplink, frame, kMendAll);
      inputs.push_back(std::move(input));
    }
  return inputs;
}

}  // namespace vmnat::fuzz
