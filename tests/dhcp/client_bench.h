// SPDX-License-Identifier: Apache-2.0
// The other end of a DHCP client: answers what it says, lets time pass, and brings it into any state.
//
//   ClientBench bench;
//   bench.bring_to(ClientState::Bound);
//   bench.pass(std::chrono::minutes(30));
//   EXPECT_EQ(bench.client.state(), ClientState::Renewing);
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dhcp/client.h"
#include "net/wire.h"
#include "tests/dhcp/request_frame.h"

namespace vmnat::dhcp::test {

struct Said {
  Message message;
  Datagram datagram;  // payload points into the frame kept in `frame`
  Frame frame;
  net::Ipv4Addr by_unicast_to;
};

struct ClientBench {
  static inline const net::MacAddr kMac = mac("52:54:00:00:00:01");
  static inline const net::Ipv4Addr kServer = ip("203.0.113.1"), kOther = ip("203.0.113.3"),
                                    kAddress = ip("203.0.113.50");

  Client client{{.mac = kMac}, 1};
  ClientTime now{std::chrono::hours(1)};
  std::vector<Said> said;        // since the last collect(), DHCP only
  std::vector<Frame> probes;     // since the last collect(), ARP
  std::vector<ClientNews> news;  // since the last collect()
  std::uint32_t lease = 3600;

  // Takes what the client has to send and to tell.
  void collect() {
    said.clear();
    probes.clear();
    for (ClientFrame& out : client.take_output()) {
      const auto parsed = parse_frame(out.frame);
      const auto* datagram = std::get_if<Datagram>(&parsed);
      if (datagram == nullptr) {
        probes.push_back(std::move(out.frame));
        continue;
      }
      said.push_back(
          {parse_message(datagram->payload).value(), *datagram, std::move(out.frame), out.by_unicast_to});
      xid = said.back().message.header.xid;
    }
    news = client.take_news();
  }
  // Lets time pass in the client's own steps.
  void pass(ClientTime::duration time) {
    const ClientTime end = now + time;
    while (client.next_action() <= end) {
      now = std::max(now, client.next_action());
      client.advance(now);
    }
    now = end;
    client.advance(now);
  }
  // Until the client does something by itself.
  void wait() {
    now = std::max(now, client.next_action());
    client.advance(now);
  }

  // What a server says to the last message, as it would be by default.
  [[nodiscard]] RequestFrame reply(MessageType type, net::Ipv4Addr address = kAddress,
                                   net::Ipv4Addr server = kServer) const {
    RequestFrame answer = request_of(type, mac("52:54:00:ff:00:01"), 0);
    answer.header.op = Op::Reply;
    answer.header.xid = xid;
    answer.header.chaddr = kMac;
    answer.header.yiaddr = type == MessageType::Nak ? net::Ipv4Addr{} : address;
    answer.destination_mac = kMac;
    answer.source = {server, kServerPort};
    answer.destination = {type == MessageType::Nak ? kBroadcastAddress : address, kClientPort};
    answer.with(Option::ServerId, server);
    if (type == MessageType::Nak) return answer;
    return answer.with(Option::SubnetMask, ip("255.255.255.0"))
        .with(Option::Router, kServer)
        .with(Option::DnsServers, ip("9.9.9.9"))
        .with(Option::LeaseTime, long_bytes(lease));
  }
  static Bytes long_bytes(std::uint32_t value) {
    const auto wire = net::Be32::from_host(value);
    const auto bytes = std::as_bytes(std::span{&wire, 1});
    return {bytes.begin(), bytes.end()};
  }
  void receive(const RequestFrame& answer) { client.receive(answer.frame(), now); }
  void receive(MessageType type) { receive(reply(type)); }
  void conflict(net::Ipv4Addr address = kAddress) { arp(2, address, {}, mac("52:54:00:bb:00:01")); }
  void arp(std::uint16_t operation, net::Ipv4Addr sender, net::Ipv4Addr target, net::MacAddr sender_mac) {
    const net::ArpPacket packet{.hardware_type = net::Be16::from_host(1),
                                .protocol_type = net::Be16::from_host(0x0800),
                                .hardware_length = 6,
                                .protocol_length = 4,
                                .operation = net::Be16::from_host(operation),
                                .sender_mac = sender_mac,
                                .sender_address = sender,
                                .target_mac = {},
                                .target_address = target};
    Frame frame(sizeof(net::EthernetHeader));
    const auto bytes = std::as_bytes(std::span{&packet, 1});
    frame.insert(frame.end(), bytes.begin(), bytes.end());
    client.receive_arp(frame, now);
  }

  // The shortest way there; what was said on it is forgotten, but the last xid.
  void bring_to(ClientState state) {
    const auto over = [&] {
      collect();
      return client.state() == state;
    };
    if (over()) return;
    client.start(state == ClientState::Rebooting ? std::optional{kAddress} : std::nullopt, now);
    if (over()) return;
    if (state == ClientState::Init) {
      receive(MessageType::Offer), collect();
      receive(MessageType::Nak), collect();  // the first one leads to Selecting at once
      receive(MessageType::Offer), collect();
      receive(MessageType::Nak), collect();
      return;
    }
    receive(MessageType::Offer);
    if (over()) return;
    receive(MessageType::Ack);
    if (over()) return;
    pass(std::chrono::seconds(1));
    if (over()) return;
    now = client.binding()->renew;
    client.advance(now);
    if (over()) return;
    now = client.binding()->rebind;
    client.advance(now);
    collect();
  }

  net::Be32 xid{};
};

}  // namespace vmnat::dhcp::test
