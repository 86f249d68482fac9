// SPDX-License-Identifier: Apache-2.0
// A server under arbitrary clients: a byte source chooses what happens next, a model of what the clients
// believe says whether it may.
//
// Eight clients behind three ports, of which one may relay, fight for five addresses, two reservations and
// three names; they send all message types with right and wrong addresses, in any order; time passes, the
// clock is set, the settings change, the server crashes and starts again from its journal, foreign bytes
// arrive. What must hold: an ACKed address is in the ranges or reserved for its client, is nobody else's, and
// stays so until the client gives it up or its time is over, by the port that it was given through and by no
// other. Used by the property test and by the fuzzer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "dhcp/journal.h"
#include "tests/dhcp/request_frame.h"

namespace vmnat::dhcp::test {

class Scenario {
 public:
  // `next` gives the bytes that decide; `more` says whether there are any left.
  Scenario(std::function<std::uint8_t()> next, std::function<bool()> more)
      : next_(std::move(next)), more_(std::move(more)), server_(settings(), 1), journal_(journal_header()) {}

  // Plays until there is nothing left or something is wrong: answers what, empty when all is well.
  std::string play() {
    while (more_() && fault_.empty()) {
      step();
      if (fault_.empty()) fault_ = server_.check_invariants();
    }
    return fault_;
  }
  [[nodiscard]] std::uint64_t acks() const { return acks_; }

 private:
  static constexpr unsigned kClients = 8, kPorts = 3;
  static constexpr net::MacAddr kRelay{{0x02, 0xff, 0xff, 0xff, 0xff, 0xfd}};
  struct Client {
    net::Ipv4Addr offered;
    std::optional<net::Ipv4Addr> held;
    std::string_view port;  // that it was given through
    WallTime held_until;    // by the clients' clock, which is never set
  };

  [[nodiscard]] NetworkSettings settings() const {
    NetworkSettings settings = default_network();
    settings.ranges = {{ip("192.168.122.2"), ip("192.168.122.6")}};
    settings.limits.leases = 4;
    settings.check_before_offer = checks_on_;
    if (reservations_on_)
      settings.reservations = {{.mac = mac_number(0), .address = ip("192.168.122.4"), .hostname = "zero"},
                               {.mac = mac_number(1), .address = ip("192.168.122.200"), .hostname = {}}};
    return settings;
  }
  [[nodiscard]] WallTime server_now() const { return now_ + set_by_; }
  net::Ipv4Addr any_address() { return net::Ipv4Addr::from_host(ip("192.168.122.0").host() + next_() % 8); }

  void step() {
    const std::uint8_t what = next_();
    switch (what % 16) {
      case 0:
        now_ += std::chrono::seconds{next_() * 16};
        return;
      case 1:
        return set_clock(std::chrono::seconds{(next_() - 192) * 8});
      case 2:
        return reconfigure();
      case 3:
        return restart();
      case 4:
        return send_foreign_bytes();
      case 5:
        server_.release(any_address());
        forget_released();
        return;
      default:
        return send(what / 16 % kClients, what % 16 - 6);
    }
  }

  // Backwards three times of four.
  void set_clock(std::chrono::seconds by) {
    set_by_ += by;
    server_.clock_was_set(by);
    // The journal is written anew, as control does: its ends are the old clock's.
    std::vector<Lease> lasting = server_.leases();
    std::erase_if(lasting, [](const Lease& lease) {
      return lease.state == LeaseState::Offered || lease.state == LeaseState::Reserved;
    });
    const Bytes records = journal_records(lasting);
    journal_.insert(journal_.end(), records.begin(), records.end());
  }
  void reconfigure() {
    reservations_on_ = !reservations_on_;
    checks_on_ = next_() % 2 == 0;
    server_.reconfigure(settings());
  }
  // Releasing by hand takes an address away from a client that still believes in it: it is the operator's
  // call.
  void forget_released() {
    for (Client& client : clients_)
      if (client.held && state_of(*client.held) == LeaseState::Released) client.held.reset();
    keep_journal();
  }
  [[nodiscard]] std::optional<LeaseState> state_of(net::Ipv4Addr address) const {
    for (const Lease& lease : server_.leases())
      if (lease.address == address) return lease.state;
    return std::nullopt;
  }
  void keep_journal() {
    const Bytes records = journal_records(server_.take_changes());
    journal_.insert(journal_.end(), records.begin(), records.end());
  }
  void restart() {
    const JournalContent content = read_journal(journal_);
    if (content.damaged_bytes != 0) fault_ = "the journal is damaged";
    server_ = Server{settings(), 1};
    server_.load(content.leases, server_now());
  }
  // From a station so unlike the clients that no damage makes it one of them.
  void send_foreign_bytes() {
    Frame frame = request_of(MessageType::Discover, mac("02:ff:ff:ff:ff:ff"), 1).frame();
    for (unsigned i = next_() % 8; i > 0; --i) {
      const std::size_t at = next_() | next_() << 8;
      frame[at % frame.size()] = std::byte{next_()};
    }
    frame.erase(frame.end() - next_() % 64, frame.end());
    without_udp_checksum(frame);
    server_.answer(frame, {.port = "p0"}, server_now());
    keep_journal();
  }

  void send(unsigned number, int kind) {
    Client& client = clients_[number];
    RequestFrame request = request_for(client, mac_number(number), kind);
    if (const auto name = next_(); name % 4 == 0)
      request.with(Option::HostName, "n" + std::to_string(name % 3));
    const bool is_relayed = next_() % 16 == 1;
    if (is_relayed) {
      request.header.giaddr = ip("192.168.122.9");
      request.source_mac = kRelay;
    }
    static constexpr std::string_view kNames[kPorts] = {"p0", "p1", "p2"};
    const std::string_view port = kNames[(next_() % 16 == 0 ? next_() : number) % kPorts];
    const bool may_relay = port == "p2";
    auto frame = server_.answer(request.frame(), {.port = port, .may_relay = may_relay}, server_now());
    if (frame && is_relayed && !may_relay)
      return fail(number, "was answered through a relay that may not be one");
    // What the network says of an address that the server asks about.
    if (const auto asked = server_.take_check()) {
      if (frame) fault_ = "an answer although the address is asked about";
      if (next_() % 4 == 0)
        server_.mark_in_use(asked->address, {mac("02:ff:ff:ff:ff:fe"), "p2", {}}, server_now());
      else
        server_.mark_free(asked->address, server_now());
      frame = server_.answer(request.frame(), {.port = port, .may_relay = may_relay, .is_repeated = true},
                             server_now());
      server_.take_check();
    }
    keep_journal();
    if (kind == 0) client.held.reset();  // who sends DISCOVER uses no address
    if (frame) note_reply(client, number, *frame, port);
  }

  RequestFrame request_for(Client& client, net::MacAddr mac, int kind) {
    const std::uint8_t whim = next_();
    const net::Ipv4Addr known = client.held.value_or(client.offered);
    const net::Ipv4Addr address = whim % 4 == 0 ? any_address() : known;
    const net::Ipv4Addr gateway = server_.settings().gateway.address;
    const auto with_ciaddr = [&](MessageType type) {
      RequestFrame request = request_of(type, mac, 1);
      request.header.ciaddr = address;
      return request;
    };
    switch (kind) {
      case 0: {
        RequestFrame request = request_of(MessageType::Discover, mac, 1);
        if (whim % 8 == 1) request.with(Option::RapidCommit, Bytes{});
        if (whim % 8 == 2) request.with(Option::RequestedAddress, any_address());
        return request;
      }
      case 1:
      case 2:
        return request_of(MessageType::Request, mac, 1)
            .with(Option::ServerId, gateway)
            .with(Option::RequestedAddress, whim % 4 == 0 ? address : client.offered);
      case 3:
        return request_of(MessageType::Request, mac, 1).with(Option::RequestedAddress, address);
      case 4:
        return with_ciaddr(MessageType::Request);
      case 5:
        return with_ciaddr(MessageType::Request).unicast_to(server_.settings().gateway_mac, gateway);
      case 6:
        give_up(client, address);
        return with_ciaddr(MessageType::Release).with(Option::ServerId, gateway);
      case 7:
        give_up(client, address);
        return request_of(MessageType::Decline, mac, 1)
            .with(Option::ServerId, gateway)
            .with(Option::RequestedAddress, address);
      case 8:
        return with_ciaddr(MessageType::Inform);
      default:
        return request_of(MessageType::Request, mac, 1).with(Option::ServerId, any_address());
    }
  }
  static void give_up(Client& client, net::Ipv4Addr address) {
    if (client.held == address) client.held.reset();
  }

  void note_reply(Client& client, unsigned number, const Frame& frame, std::string_view port) {
    const auto parsed = parse_frame(frame);
    const auto* datagram = std::get_if<Datagram>(&parsed);
    const auto message = datagram != nullptr ? parse_message(datagram->payload) : std::nullopt;
    if (!message || !message->type()) return fail(number, "got a reply that is none");
    const net::MacAddr to = datagram->destination_mac;
    const bool is_relayed = !message->header.giaddr.is_unspecified();
    if (is_relayed ? to != kRelay : to != net::kBroadcastMac && to != mac_number(number))
      return fail(number, "is not the one the reply was sent to");
    const net::Ipv4Addr address = message->header.yiaddr;
    if (*message->type() == MessageType::Nak) client.held.reset();
    if (address.is_unspecified()) return;
    if (client.held && client.port != port && client.held_until > now_)
      return fail(number, "was answered by another port than the one it holds its address through");
    check_given(number, address);
    if (*message->type() == MessageType::Offer) client.offered = address;
    if (*message->type() != MessageType::Ack) return;
    ++acks_;
    client.held = address;
    client.port = port;
    client.held_until =
        now_ + std::chrono::seconds{message->options.long_value(Option::LeaseTime).value_or(0)};
  }

  void check_given(unsigned number, net::Ipv4Addr address) {
    const std::uint32_t last_byte = address.host() & 0xff;
    const bool in_ranges = last_byte >= 2 && last_byte <= 6;
    const bool is_own_reservation =
        reservations_on_ && ((number == 0 && last_byte == 4) || (number == 1 && last_byte == 200));
    if (!in_ranges && !is_own_reservation)
      fail(number, "got an address out of the ranges: " + net::to_string(address));
    if (reservations_on_ && last_byte == 4 && number != 0) fail(number, "got another's reservation");
    for (unsigned other = 0; other < kClients; ++other)
      if (other != number && clients_[other].held == address && clients_[other].held_until > now_)
        fail(number,
             "got the address that client " + std::to_string(other) + " holds: " + net::to_string(address));
  }
  void fail(unsigned number, const std::string& what) {
    fault_ = "client " + std::to_string(number) + " " + what;
  }

  std::function<std::uint8_t()> next_;
  std::function<bool()> more_;
  bool reservations_on_ = false;
  bool checks_on_ = false;
  Server server_;
  Bytes journal_;
  std::array<Client, kClients> clients_{};
  WallTime now_ = at_second(0);
  std::chrono::seconds set_by_{0};
  std::uint64_t acks_ = 0;
  std::string fault_;
};

}  // namespace vmnat::dhcp::test
