// SPDX-License-Identifier: Apache-2.0
// What the client says, and what it believes of the answers: RFC 2131 tables 3 and 5.
#include <algorithm>
#include <array>
#include <bit>

#include "dhcp/client.h"
#include "net/arp.h"

namespace vmnat::dhcp {
namespace {

constexpr std::uint32_t kInfiniteSeconds = 0xffffffff;  // RFC 2131 section 3.3
constexpr std::uint32_t kFallbackLease = 3600;          // of a server that never says how long
constexpr std::uint16_t kLeastMtu = 576;                // less is legal, and nobody's wish
constexpr std::uint8_t kEthernetId = 1;                 // RFC 2132 section 9.14: hardware type, then address

constexpr Option kWanted[] = {Option::SubnetMask,  Option::ClasslessRoutes, Option::Router,
                              Option::DnsServers,  Option::InterfaceMtu,    Option::LeaseTime,
                              Option::RenewalTime, Option::RebindingTime};

std::array<std::uint8_t, 7> client_id(net::MacAddr mac) {
  std::array<std::uint8_t, 7> id{kEthernetId};
  std::ranges::copy(mac.bytes, id.begin() + 1);
  return id;
}

// Without option 1 the class of the address decides, as before RFC 1519; so it does for a mask that is none,
// of no ones or with holes.
std::uint8_t prefix_length(const OptionSet& options, net::Ipv4Addr address) {
  if (const auto mask = options.address(Option::SubnetMask)) {
    const int ones = std::countl_one(mask->host());
    if (ones != 0 && std::popcount(mask->host()) == ones) return static_cast<std::uint8_t>(ones);
  }
  const std::uint32_t high = address.host() >> 24;
  return static_cast<std::uint8_t>(high < 128 ? 8 : high < 192 ? 16 : 24);
}

std::vector<net::Ipv4Addr> hosts_in(ByteView list) {
  std::vector<net::Ipv4Addr> hosts;
  for (; list.size() >= sizeof(net::Ipv4Addr); list = list.subspan(sizeof(net::Ipv4Addr))) {
    const net::Ipv4Addr address = *net::view<net::Ipv4Addr>(list);
    if (address.is_hosts()) hosts.push_back(address);
  }
  return hosts;
}

// The router of RFC 3442's route to 0.0.0.0/0; nothing when there is none or the list is malformed.
std::optional<net::Ipv4Addr> default_route(ByteView routes) {
  std::optional<net::Ipv4Addr> found;
  while (!routes.empty()) {
    const auto length = static_cast<unsigned>(routes[0]);
    const std::size_t bytes = 1 + (length + 7) / 8;
    if (length > 32 || routes.size() < bytes + sizeof(net::Ipv4Addr)) return std::nullopt;
    if (length == 0 && !found) found = *net::view<net::Ipv4Addr>(routes, bytes);
    routes = routes.subspan(bytes + sizeof(net::Ipv4Addr));
  }
  return found;
}

// RFC 3442: "If the DHCP server returns both a Classless Static Routes option and a Router option, the DHCP
// client MUST ignore the Router option."
net::Ipv4Addr router_in(const OptionSet& options) {
  if (options.has(Option::ClasslessRoutes)) {
    const auto router = default_route(options.bytes(Option::ClasslessRoutes));
    return router && router->is_hosts() ? *router : net::Ipv4Addr{};
  }
  const auto routers = hosts_in(options.bytes(Option::Router));
  return routers.empty() ? net::Ipv4Addr{} : routers.front();
}

MessageHeader request_header(net::MacAddr mac, std::uint32_t xid, std::chrono::seconds since) {
  MessageHeader header{};
  header.op = Op::Request;
  header.hardware_type = MessageHeader::kEthernet;
  header.hardware_length = sizeof(net::MacAddr);
  header.xid = net::Be32::from_host(xid);
  header.secs =
      net::Be16::from_host(static_cast<std::uint16_t>(std::clamp<std::int64_t>(since.count(), 0, 0xffff)));
  header.chaddr = mac;
  header.cookie = net::Be32::from_host(MessageHeader::kMagicCookie);
  return header;
}

void add_wishes(MessageBuilder& builder, std::uint16_t mtu) {
  builder.add_short(Option::MaxMessageSize, std::max<std::uint16_t>(mtu, 576));  // RFC 2132 section 9.10
  std::array<std::uint8_t, std::size(kWanted)> list;
  std::ranges::transform(kWanted, list.begin(), [](Option code) { return static_cast<std::uint8_t>(code); });
  builder.add(Option::ParameterRequestList, std::as_bytes(std::span{list}));
}

}  // namespace

// Table 5, and section 4.3.2 for which fields tell the kinds of REQUEST apart. The broadcast flag stays away:
// frames for our own MAC reach us whatever their IP destination is.
void Client::send(MessageType type, ClientTime now) {
  const bool holds = state_ == ClientState::Renewing || state_ == ClientState::Rebinding;
  const net::Ipv4Addr own = holds ? binding_->address.address : net::Ipv4Addr{};
  MessageHeader header =
      request_header(settings_.mac, xid_, std::chrono::duration_cast<std::chrono::seconds>(now - begun_));
  header.ciaddr = own;
  MessageBuilder builder{header, MessageBuilder::kDefaultLimit};
  builder.add_byte(Option::MessageType, static_cast<std::uint8_t>(type));
  const auto id = client_id(settings_.mac);
  builder.add(Option::ClientId, std::as_bytes(std::span{id}));
  if (!holds && !asked_.is_unspecified()) builder.add(Option::RequestedAddress, asked_);
  const bool names_server = type == MessageType::Decline || state_ == ClientState::Requesting;
  if (names_server && !server_.is_unspecified()) builder.add(Option::ServerId, server_);
  if (type != MessageType::Decline) add_wishes(builder, settings_.mtu);

  const bool by_unicast = state_ == ClientState::Renewing && !binding_->server.is_unspecified();
  const Bytes payload = builder.finished();
  Datagram datagram{.source_mac = settings_.mac,
                    .destination_mac = net::kBroadcastMac,
                    .source = {own, kClientPort},
                    .destination = {by_unicast ? binding_->server : kBroadcastAddress, kServerPort},
                    .payload = payload};
  if (by_unicast) datagram.destination_mac = {};
  output_.push_back({framed(datagram), by_unicast ? binding_->server : net::Ipv4Addr{}});
  ++counters_.sent;
}

void Client::send_probe() {
  const net::ArpFrame probe = net::arp_request(settings_.mac, {}, candidate_->address.address);
  const ByteView bytes = probe.bytes();
  output_.push_back({{bytes.begin(), bytes.end()}, {}});
}

// Whom we speak with; unspecified: any server may answer, as it may a broadcast of Rebooting and Rebinding.
net::Ipv4Addr Client::expected_server() const {
  if (state_ == ClientState::Requesting) return server_;
  return state_ == ClientState::Renewing ? binding_->server : net::Ipv4Addr{};
}

// The message, when it answers what we have said last, and comes from the server that we speak with. From
// which port it comes is the server's affair: RFC 2131 section 4.1 fixes the destination's.
std::optional<Client::Heard> Client::heeded(ByteView frame) const {
  const auto parsed = parse_frame(frame);
  const auto* datagram = std::get_if<Datagram>(&parsed);
  if (datagram == nullptr || datagram->destination.port != kClientPort) return std::nullopt;
  auto message = parse_message(datagram->payload);
  if (!message || !message->type() || !is_for_us(*message)) return std::nullopt;

  // Table 3: the server MUST name itself. For one that does not stands whom we speak with, else its packet's
  // sender.
  const net::Ipv4Addr expected = expected_server();
  const net::Ipv4Addr named = message->options.address(Option::ServerId).value_or(net::Ipv4Addr{});
  const net::Ipv4Addr sender =
      datagram->source.address.is_hosts() ? datagram->source.address : net::Ipv4Addr{};
  const net::Ipv4Addr server = named.is_hosts() ? named : expected.is_unspecified() ? sender : expected;
  const bool is_right_server = expected.is_unspecified() || server == expected;
  if (!is_awaited(*message->type(), message->header.yiaddr) || !is_right_server) return std::nullopt;
  return Heard{std::move(*message), server};
}

bool Client::is_for_us(const Message& message) const {
  const MessageHeader& header = message.header;
  if (header.op != Op::Reply || header.xid.host() != xid_ || header.chaddr != settings_.mac ||
      header.hardware_type != MessageHeader::kEthernet)
    return false;
  const ByteView echoed = message.options.bytes(Option::ClientId);  // RFC 6842: ours, if it is there
  const auto id = client_id(settings_.mac);
  return echoed.empty() || std::ranges::equal(echoed, std::as_bytes(std::span{id}));
}

bool Client::is_awaited(MessageType type, net::Ipv4Addr offered) const {
  switch (type) {
    case MessageType::Offer:
      return state_ == ClientState::Selecting && offered.is_hosts();
    case MessageType::Ack:
    case MessageType::Nak:
      return state_ == ClientState::Requesting || state_ == ClientState::Rebooting ||
             state_ == ClientState::Renewing || state_ == ClientState::Rebinding;
    default:
      return false;
  }
}

// Table 3: an ACK MUST say. For one that does not stands what its server has said last, in its offer or of
// the lease before, else an hour, after half of which the server is asked again.
std::uint32_t Client::lease_time_in(const OptionSet& options) {
  const std::uint32_t said = options.long_value(Option::LeaseTime).value_or(0);
  if (said != 0) return lease_time_ = said;
  news_.push_back(ClientNews::LeaseTimeMissing);
  return lease_time_ != 0 ? lease_time_ : kFallbackLease;
}

// What an ACK gives; nothing when it cannot be used.
std::optional<Binding> Client::binding_in(const Heard& ack, ClientTime now) {
  const net::Ipv4Addr address = ack.message.header.yiaddr;
  const OptionSet& options = ack.message.options;
  if (address != asked_ || !address.is_hosts()) return std::nullopt;
  const net::Ipv4Prefix prefix{address, prefix_length(options, address)};
  if (!prefix.is_host(address)) return std::nullopt;
  Binding binding{.address = prefix,
                  .router = router_in(options),
                  .server = ack.server,
                  .dns = hosts_in(options.bytes(Option::DnsServers))};
  if (binding.router == address || prefix.is_edge(binding.router)) binding.router = {};
  const std::uint16_t mtu = options.short_value(Option::InterfaceMtu).value_or(0);
  if (mtu >= kLeastMtu) binding.mtu = mtu;
  set_times(binding, options, lease_time_in(options), now);
  return binding;
}

// Section 4.4.5: T1 is half of the lease and T2 seven eighths unless the server says otherwise; ours come up
// to a sixty-fourth earlier, "to avoid synchronization". What a server says counts as far as it makes sense:
// 0 < T1 < T2 < lease.
void Client::set_times(Binding& binding, const OptionSet& options, std::uint32_t lease, ClientTime now) {
  if (lease == kInfiniteSeconds) {
    binding.renew = binding.rebind = binding.expires = ClientTime::max();
    return;
  }
  using std::chrono::milliseconds;
  const milliseconds whole = std::chrono::seconds(lease);
  const milliseconds early{random_.next() % static_cast<std::uint64_t>(whole.count() / 64 + 1)};
  const auto said = [&](Option code, milliseconds otherwise) -> milliseconds {
    const std::uint32_t value = options.long_value(code).value_or(0);
    return value > 0 && value < lease ? std::chrono::seconds(value) : otherwise;
  };
  const milliseconds half = whole / 2 - early, most = whole * 7 / 8 - early;
  milliseconds renew = said(Option::RenewalTime, half), rebind = said(Option::RebindingTime, most);
  if (renew >= rebind) renew = half, rebind = most;
  binding.renew = now + renew;
  binding.rebind = now + rebind;
  binding.expires = now + whole;
}

}  // namespace vmnat::dhcp
