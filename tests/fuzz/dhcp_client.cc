// SPDX-License-Identifier: Apache-2.0
// The DHCP client as a function of event sequences: the input's bytes decide which replies come, how they are
// spoilt, and how time passes. Promises: an address is held in the states that have one, is one a station can
// have, and never outlives its lease; nothing but broadcast and unicast to the server is sent; few frames for
// each event.
#include <random>

#include "tests/dhcp/client_bench.h"
#include "tests/fuzz/driver.h"

namespace {

using namespace vmnat::dhcp;
using test::ClientBench;

class Play {
 public:
  explicit Play(ByteView input) : input_(input) {}

  void run() {
    while (!input_.empty()) {
      act(next());
      check();
    }
  }

 private:
  std::uint8_t next() {
    if (input_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(input_[0]);
    input_ = input_.subspan(1);
    return value;
  }

  void act(std::uint8_t choice) {
    switch (choice % 12) {
      case 0:
        return bench_.client.start(next() % 2 == 0 ? std::nullopt : std::optional{ClientBench::kAddress},
                                   bench_.now);
      case 1:
        return bench_.client.link_returned(bench_.now);
      case 2:
      case 3:
        return bench_.receive(spoilt(MessageType::Offer));
      case 4:
      case 5:
        return bench_.receive(spoilt(MessageType::Ack));
      case 6:
        return bench_.receive(spoilt(MessageType::Nak));
      case 7:
        return bench_.conflict();
      case 8:
      case 9:
        if (bench_.client.next_action() != ClientTime::max()) bench_.wait();
        return;
      case 10:
        bench_.now += std::chrono::seconds(next()) * next();
        return bench_.client.advance(bench_.now);
      default:
        return raw();
    }
  }

  // A reply that is good but for what the next bytes say.
  test::RequestFrame spoilt(MessageType type) {
    bench_.lease = next() % 4 == 0 ? 0xffffffff : 1u + next() * 16u;
    auto reply = bench_.reply(type);
    const std::uint8_t how = next();
    if (how % 5 == 1) reply.options[next() % reply.options.size()].value.resize(next() % 9);
    if (how % 7 == 1) reply.header.yiaddr = net_address(static_cast<std::uint32_t>(next()) << 24 | next());
    if (how % 11 == 1) reply.with(static_cast<Option>(next()), some_bytes());
    return reply;
  }
  static vmnat::net::Ipv4Addr net_address(std::uint32_t host) {
    return vmnat::net::Ipv4Addr::from_host(host);
  }
  Bytes some_bytes() {
    Bytes bytes(next() % 40);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(next());
    return bytes;
  }
  // Damage on the wire: one byte of a good frame, checksums and all.
  void raw() {
    Frame frame = bench_.reply(MessageType::Ack).frame();
    frame[(next() * 256u + next()) % frame.size()] = static_cast<std::byte>(next());
    frame.resize(std::max<std::size_t>(frame.size() - next() % 64, 1));
    bench_.client.receive(frame, bench_.now);
    bench_.client.receive_arp(frame, bench_.now);
  }

  void check() {
    const Client& client = bench_.client;
    bench_.collect();
    if (bench_.said.size() + bench_.probes.size() > 2) vmnat::fuzz::fault("many frames for one event");
    const ClientState state = client.state();
    const bool must_hold =
        state == ClientState::Bound || state == ClientState::Renewing || state == ClientState::Rebinding;
    const bool may_hold = must_hold || state == ClientState::Rebooting;
    if (must_hold && !client.binding()) vmnat::fuzz::fault("bound to nothing");
    if (!may_hold && client.binding()) vmnat::fuzz::fault("an address is held in a state without one");
    if (!client.binding()) return;
    const Binding& binding = *client.binding();
    const std::uint32_t high = binding.address.address.host() >> 24;
    if (high == 0 || high == 127 || high >= 224) vmnat::fuzz::fault("an address that no station can have");
    if (binding.address.length == 0 || binding.renew > binding.rebind || binding.rebind > binding.expires)
      vmnat::fuzz::fault("a binding that makes no sense");
    client_advance_ends_it();
  }
  void client_advance_ends_it() {
    bench_.client.advance(bench_.now);
    bench_.collect();
    if (bench_.client.binding() && bench_.client.binding()->expires <= bench_.now)
      vmnat::fuzz::fault("an address outlives its lease");
  }

  ByteView input_;
  ClientBench bench_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  Play{std::as_bytes(std::span{bytes, size})}.run();
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  std::vector<std::vector<std::uint8_t>> seeds{
      {0, 0, 2, 1, 9, 0, 4, 1, 9, 0, 8, 8, 8, 8, 4, 1, 9, 0, 10, 200, 200}};
  std::mt19937 random{1};
  for (const std::size_t size : {32u, 512u}) {
    auto& seed = seeds.emplace_back(size);
    for (auto& byte : seed) byte = static_cast<std::uint8_t>(random());
  }
  return seeds;
}
