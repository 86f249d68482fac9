// SPDX-License-Identifier: Apache-2.0
// Frames for tests: built with full, independent checksum computation, and read back.
//
//   Packet().from(kVm1, "192.168.122.10", 40000).to(kGatewayMac, "198.51.100.7", 80).tcp(kSyn).frame()
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "net/wire.h"

namespace vmnat::test {

using Bytes = std::vector<std::byte>;

Bytes as_bytes(const std::vector<unsigned>& numbers);

class Packet {
 public:
  Packet() { payload(18); }
  Packet& from(net::MacAddr mac, std::string_view address, std::uint16_t port = 0);
  Packet& to(net::MacAddr mac, std::string_view address, std::uint16_t port = 0);
  Packet& tcp(std::uint8_t flags);
  Packet& sequence(std::uint32_t number);
  Packet& acknowledgment(std::uint32_t number);
  Packet& window(std::uint16_t bytes);
  Packet& tcp_options(const std::vector<unsigned>& bytes);  // a multiple of 4
  Packet& udp();
  Packet& icmp_echo(net::IcmpType type, std::uint16_t identifier);
  // About the IPv4 packet `quote`, which takes the payload's place; see quoted().
  Packet& icmp_error(net::IcmpType type, std::uint8_t code, const Bytes& quote);
  Packet& protocol(std::uint8_t number);  // no transport header of its own
  Packet& ttl(std::uint8_t ttl);
  Packet& tos(std::uint8_t tos);
  Packet& identification(std::uint16_t number);
  Packet& payload(std::size_t bytes);
  Packet& payload(const Bytes& content);
  Packet& options(std::size_t words);  // IPv4 header options (no-operations), in units of 4 bytes
  Packet& options(const std::vector<unsigned>& bytes);  // a multiple of 4
  Packet& fragment(std::uint16_t raw_flags_and_offset);
  Packet& without_udp_checksum();

  [[nodiscard]] Bytes frame() const;
  // The frame after `change` was made to its bytes; checksums are not mended.
  [[nodiscard]] Bytes frame(const std::function<void(Bytes&)>& change) const;

 private:
  [[nodiscard]] Bytes l4() const;
  net::MacAddr source_mac_, destination_mac_;
  net::Endpoint source_, destination_;
  std::uint8_t protocol_ = 17;
  std::uint8_t tcp_flags_ = 0;
  std::uint32_t sequence_ = 0x12345678, acknowledgment_ = 0;
  std::uint16_t window_ = 8192;
  Bytes tcp_options_;
  net::IcmpType icmp_type_{};
  std::uint8_t icmp_code_ = 0;
  Bytes quote_;
  std::uint8_t ttl_ = 64, tos_ = 0;
  std::uint16_t identification_ = 0x4242;
  Bytes payload_;
  Bytes options_;
  std::uint16_t fragment_ = 0;
  bool udp_checksum_ = true;
};

Bytes arp(net::ArpOperation operation, net::MacAddr sender_mac, std::string_view sender,
          net::MacAddr target_mac, std::string_view target, net::MacAddr destination);

// What an ICMP error would quote of a frame: its IPv4 header and at most so many bytes of what follows.
Bytes quoted(const Bytes& frame, std::size_t l4_bytes);
// What the ICMP error in this frame quotes.
Bytes quote_in(const Bytes& frame);

// True when the IPv4 header's and the TCP, UDP or ICMP checksum of an unfragmented frame are right.
bool has_good_checksums(const Bytes& frame);

bool has_good_ip_checksum(const Bytes& frame);
// After a change of the IPv4 header.
void mend_ip_checksum(Bytes& frame);

// What a frame says, as text: "192.168.122.10:40000 > 198.51.100.7:80 udp ttl 64".
std::string describe(const Bytes& frame);

net::Endpoint source_of(const Bytes& frame);  // port: TCP/UDP port or ICMP identifier
net::Endpoint destination_of(const Bytes& frame);

}  // namespace vmnat::test
