// SPDX-License-Identifier: Apache-2.0
// What control makes of any punted frames: the input is a script of steps, played against control's parts in
// SlowPath's order (punts_bed.h says what must hold).
//
// The first byte chooses the configuration. A step is a byte and what it takes: the low four bits choose what
// happens, kHeld that control is not polled after it, so that several come in one poll. Most frames are good
// but for what the next bytes say: a few bytes of a DHCP message are changed before its checksums are made,
// so that it is read to its end; others are changed afterwards. Example: {0, 0, 1, 0, 0, 0} is vm2's DISCOVER
// from the first client, unchanged, and a poll.
#include <algorithm>
#include <cstring>
#include <random>
#include <spdlog/spdlog.h>

#include "net/arp.h"
#include "tests/dhcp/request_frame.h"
#include "tests/fuzz/driver.h"
#include "tests/fuzz/punts_bed.h"

namespace vmnat::fuzz {
namespace {

using dhcp::MessageType;
using dhcp::Option;
using std::chrono::milliseconds;
using std::chrono::seconds;

enum Step : std::uint8_t {
  Dhcp,
  DhcpToo,
  DhcpAlso,
  ManyClients,
  RawDhcp,
  Arp,
  AnswerQuestions,
  Unresolved,
  Scan,
  Host,
  Learn,
  Link,
  Pass,
  SetClock,
  Release,
  Reconfigure,
  Steps
};
constexpr std::uint8_t kHeld = 0x80;
// What a client says; its address is the last one it was told, or one by number.
enum Saying : std::uint8_t {
  Discover,
  Selecting,
  InitReboot,
  Renewing,
  Rebinding,
  Releasing,
  Decline,
  Inform,
  Sayings
};
// Bits of the byte that says how.
enum How : std::uint8_t { Relayed = 1, ClientId = 2, AsksFor = 4, AnyAddress = 8, Changed = 16, Spoilt = 32 };

class Play {
 public:
  explicit Play(std::span<const std::byte> input) : input_(input), bed_(next()) {}

  void run() {
    for (unsigned steps = 0; !input_.empty() && steps < 512; ++steps) {
      const std::uint8_t what = next();
      act(static_cast<Step>(what % Steps));
      if ((what & kHeld) != 0) continue;
      bed_.poll();
      bed_.tell();
    }
    bed_.poll();
    bed_.tell();
  }

 private:
  std::uint8_t next() {
    if (input_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(input_[0]);
    input_ = input_.subspan(1);
    return value;
  }
  PortIndex any_port() { return static_cast<PortIndex>(next() % PuntsBed::kPorts); }
  PortIndex vm_port() { return static_cast<PortIndex>(1 + next() % (PuntsBed::kPorts - 1)); }
  net::Ipv4Addr address_on(PortIndex port, unsigned number) const {
    return net::Ipv4Addr::from_host((bed_.gateway(port).address.host() & ~0xffu) + number);
  }
  net::MacAddr any_client() { return dhcp::test::mac_number(next() % 16); }

  void act(Step step) {
    switch (step) {
      case Dhcp:
      case DhcpToo:
      case DhcpAlso:
        return say();
      case ManyClients:
        return many_clients();
      case RawDhcp:
        return receive_any();
      case Arp:
        return reply_by_arp();
      case AnswerQuestions:
        return answer_questions();
      case Unresolved:
        return unresolved();
      case Scan:
        return scan();
      case Host:
        return for_host();
      case Learn:
        return learn();
      case Link:
        return link();
      case Pass:
        return pass();
      case SetClock:
        return set_clock();
      case Release:
        return release();
      case Reconfigure:
        if (const std::uint8_t setup = next(); setup != 0xff) return bed_.reconfigure(setup);
        return bed_.start_over();
      case Steps:
        break;
    }
  }

  FrameBytes some_bytes() {
    FrameBytes bytes(next() % 128);
    for (std::byte& byte : bytes) byte = std::byte{next()};
    return bytes;
  }

  // The transaction bears the port's number: an answer by another port shows.
  dhcp::test::RequestFrame request(PortIndex port, net::MacAddr client, Saying saying,
                                   net::Ipv4Addr address) {
    static constexpr MessageType kTypes[Sayings] = {
        MessageType::Discover, MessageType::Request, MessageType::Request, MessageType::Request,
        MessageType::Request,  MessageType::Release, MessageType::Decline, MessageType::Inform};
    auto request =
        dhcp::test::request_of(kTypes[saying], client, static_cast<std::uint32_t>(port) << 24 | ++xid_);
    const net::Ipv4Addr server = bed_.gateway(port).address;
    const bool names_server = saying == Selecting || saying == Releasing || saying == Decline;
    const bool names_address = saying == Selecting || saying == InitReboot || saying == Decline;
    if (names_server) request.with(Option::ServerId, server);
    if (names_address) request.with(Option::RequestedAddress, address);
    if (saying != Discover && (!names_address || saying == Releasing)) request.header.ciaddr = address;
    if (saying == Renewing || saying == Releasing) request.unicast_to(bed_.gateway_mac(port), server);
    return request;
  }

  void say() {
    const PortIndex port = vm_port();
    const net::MacAddr client = any_client();
    const auto saying = static_cast<Saying>(next() % Sayings);
    const std::uint8_t how = next();
    const net::Ipv4Addr address = (how & AnyAddress) != 0 ? address_on(port, next() % 16) : bed_.told(client);
    auto message = request(port, client, saying, address);
    if ((how & Relayed) != 0) {
      message.header.giaddr = address_on(port, 250);
      message.source_mac = dhcp::test::mac_number(0xff);
    }
    if ((how & ClientId) != 0)
      message.with(Option::ClientId, dhcp::Bytes{std::byte{next()}, std::byte{next()}});
    if ((how & AsksFor) != 0) message.asking_for({1, 3, 6, next(), next()});
    dhcp::Bytes payload = message.payload();
    if ((how & Changed) != 0) change(payload);
    FrameBytes frame = dhcp::framed(
        {message.source_mac, message.destination_mac, message.source, message.destination, payload});
    if ((how & Spoilt) != 0) change(frame);
    receive(frame, port);
  }
  void receive_any() {
    const PortIndex port = vm_port();
    receive(some_bytes(), port);
  }
  void receive(const FrameBytes& frame, PortIndex port) { bed_.dhcp({&frame, 1}, port); }
  // Some bytes are others, or there are fewer.
  void change(std::vector<std::byte>& bytes) {
    for (unsigned i = 1 + next() % 4; i > 0; --i) {
      const std::size_t half = next() % 2 * 256u;
      const std::size_t at = half + next();
      bytes[at % bytes.size()] = std::byte{next()};
    }
    const std::uint8_t cut = next();
    if (cut % 8 == 1) bytes.resize(bytes.size() - std::min<std::size_t>(cut, bytes.size() - 1));
  }

  void many_clients() {
    const PortIndex port = vm_port();
    const unsigned count = 1u + next();
    const unsigned first = 0x100u * next();
    std::vector<FrameBytes> burst;
    for (unsigned i = 0; i < count; ++i) {
      auto discover = request(port, dhcp::test::mac_number(first + i), Discover, {});
      if (port == PuntsBed::kPorts - 1) discover.header.giaddr = address_on(port, 250);
      burst.push_back(discover.frame());
    }
    bed_.dhcp(burst, port);
  }

  static FrameBytes arp(net::MacAddr sender, net::Ipv4Addr address) {
    net::ArpFrame reply = net::arp_frame(sender, net::kBroadcastMac, net::ArpOperation::Reply);
    reply.arp.sender_address = address;
    return {reply.bytes().begin(), reply.bytes().end()};
  }
  void reply_by_arp() {
    const PortIndex port = any_port();
    const net::MacAddr sender = any_client();
    const std::uint8_t how = next();
    const unsigned number = next();
    const auto address = port == dataplane::kUplinkPort
                             ? net::Ipv4Addr::of(203, 0, 113, static_cast<std::uint8_t>(number))
                             : address_on(port, number);
    FrameBytes frame = arp(sender, address);
    if ((how & Changed) != 0) change(frame);
    bed_.arp_reply(frame, port);
  }
  void answer_questions() {
    const PortIndex port = vm_port();
    const net::MacAddr sender = any_client();
    const auto questions = bed_.questions();
    for (const auto& question : questions)
      if (question.network == bed_.network_index(port)) bed_.arp_reply(arp(sender, question.address), port);
  }

  FrameBytes waiting_frame() { return FrameBytes(34 + next() * 5u); }
  void unresolved() {
    const PortIndex port = vm_port();
    const auto next_hop = net::Ipv4Addr::of(203, 0, 113, next());
    for (unsigned i = next() % 16; i > 0; --i) bed_.neighbor_unresolved(next_hop, waiting_frame(), port);
  }
  // A frame for each of many on the link; 255 of them answer, so that the table fills.
  void scan() {
    const PortIndex port = vm_port();
    const auto first = net::Ipv4Addr::of(203, 0, next(), 0);
    const unsigned count = next();
    for (unsigned i = 0; i < count; ++i) {
      const auto host = net::Ipv4Addr::from_host(first.host() + i);
      bed_.neighbor_unresolved(host, FrameBytes(60), port);
      if (count == 255) bed_.arp_reply(arp(dhcp::test::mac_number(i), host), dataplane::kUplinkPort);
    }
  }
  void for_host() {
    const PortIndex port_of_network = next() % PuntsBed::kNetworks == 0 ? 1 : 5;
    const PortIndex from = any_port();
    const net::Ipv4Addr host = address_on(port_of_network, next());
    for (unsigned i = next() % 16; i > 0; --i)
      bed_.host_unresolved(bed_.network_index(port_of_network), host, waiting_frame(), from);
  }

  void learn() {
    const PortIndex port = vm_port();
    const unsigned first = next();
    const unsigned count = next();
    for (unsigned i = 0; i <= count; ++i)
      bed_.learned(dhcp::test::mac_number(first + (count > 16 ? i * 7 : i)), port);
  }
  void link() {
    const PortIndex port = any_port();
    bed_.link(port, next() % 2 == 0);
  }
  void release() {
    const PortIndex port = vm_port();
    bed_.release(address_on(port, next() % 16));
  }
  void set_clock() {
    const milliseconds time{next()};
    bed_.pass(time, seconds((next() - 128) * 3600));
  }
  void pass() {
    static constexpr milliseconds kUnits[] = {milliseconds(2), milliseconds(100), seconds(1), seconds(60)};
    const milliseconds unit = kUnits[next() % std::size(kUnits)];
    bed_.pass(unit * next(), seconds(0));
  }

  std::span<const std::byte> input_;
  PuntsBed bed_;
  std::uint32_t xid_ = 0;
};

using Script = std::vector<std::uint8_t>;

void add(Script& script, std::initializer_list<std::uint8_t> steps) {
  script.insert(script.end(), steps);
}

// Three clients of three ports; they take leases, renew them, and let go of them.
Script conversations(std::uint8_t setup) {
  Script script{setup};
  for (std::uint8_t client = 0; client < 3; ++client) {
    add(script, {Dhcp, client, client, Discover, AsksFor, 15, 42, Pass, 1, 5});
    add(script, {Dhcp, client, client, Selecting, 0});
  }
  add(script, {Pass, 3, 2, Dhcp, 0, 0, Renewing, 0, Dhcp, 1, 1, Rebinding, 0, Dhcp, 2, 2, Releasing, 0});
  add(script, {Dhcp, 1, 5, Discover, ClientId, 2, 7, SetClock, 1, 140, Dhcp, 1, 5, Selecting, 0});
  add(script, {Dhcp, 1, 0, Discover, 0, Dhcp, 1, 6, Selecting, AnyAddress, 3, Reconfigure, 2, Pass, 3, 90});
  return script;
}

Script relayed(std::uint8_t setup) {
  Script script{setup};
  add(script, {ManyClients, 6, 30, 1, Pass, 1, 2, Pass, 1, 5});
  add(script, {Dhcp, 6, 3, Discover, Relayed, Pass, 1, 5, Dhcp, 6, 3, Selecting, Relayed});
  add(script, {Dhcp, 4, 3, Discover, 0, Dhcp, 1, 3, Discover, Relayed});
  return script;
}

// Whoever is asked about an address has it; a client declines.
Script claims() {
  Script script{0b001001};
  for (std::uint8_t client = 0; client < 6; ++client)
    add(script, {Dhcp, 0, client, Discover, 0, AnswerQuestions, 1, 12, Pass, 1, 5});
  add(script, {Dhcp, 0, 2, Selecting, 0, Dhcp, 0, 2, Decline, 0, Arp, 2, 3, 0, 4, Release, 0, 3});
  return script;
}

Script neighbors() {
  Script script{0};
  add(script, {Unresolved, 0, 9, 4, 10, 11, 12, 13, Arp, 0, 7, 0, 9, Pass, 2, 31, Pass, 2, 2});
  add(script, {Scan, 1, 5, 100, Scan, 2, 6, 40, Pass, 2, 1, Pass, 2, 1, Pass, 2, 1, Pass, 2, 4});
  add(script, {Host, 0, 0, 200, 2, 10, 11, Link, 1, 0, Learn, 0, 3, 2, Arp, 1, 3, 0, 200});
  for (std::uint8_t block = 0; block < 17; ++block)
    add(script, {Scan, static_cast<std::uint8_t>(block % 3), block, 255});
  return script;
}

}  // namespace

std::vector<Script> seeds() {
  std::vector<Script> seeds{conversations(0), conversations(9), conversations(0b010010),
                            relayed(0),       relayed(9),       claims(),
                            neighbors()};
  seeds.push_back({0, Learn, 0, 0, 200, Learn, 0, 100, 255, Learn, 1, 0, 40, Link, 1, 0, Link, 1, 1});
  std::mt19937 random{1};
  for (const std::size_t size : {64u, 1024u}) {
    auto& seed = seeds.emplace_back(size);
    for (auto& byte : seed) byte = static_cast<std::uint8_t>(random());
  }
  return seeds;
}

}  // namespace vmnat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const bool kIsQuiet = (spdlog::set_level(spdlog::level::off), true);
  static_cast<void>(kIsQuiet);
  vmnat::fuzz::Play{std::as_bytes(std::span{bytes, size})}.run();
  return 0;
}
