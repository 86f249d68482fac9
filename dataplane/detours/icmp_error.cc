// SPDX-License-Identifier: Apache-2.0
#include "dataplane/detours/icmp_error.h"

#include <algorithm>
#include <span>

#include "conntrack/query_port.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

using conntrack::Rewrite;
using net::ChecksumDelta;
using net::IcmpHeader;
using net::IcmpType;
using net::Ipv4Header;
using net::L4Port;
using net::mutable_view;

struct QuotedPorts {
  L4Port source;
  L4Port destination;
};
constexpr std::size_t kQuotedL4 = 8;  // RFC 792: "the first 64 bits of the original datagram's data"

// The packet that an error is about, as far as it is quoted; its header is whole and right.
struct Quote {
  Ipv4Header* ip = nullptr;
  std::span<std::byte> l4;
  FlowKey key;
  bool is_of_remotes_query = false;  // a remote's ICMP query, or the VM's reply to it
};

// Redirects are for the hosts of one link, source quench is dead (RFC 6633): neither is passed on.
constexpr bool is_passed_on(IcmpType type) {
  return type == IcmpType::DestinationUnreachable || type == IcmpType::TimeExceeded ||
         type == IcmpType::ParameterProblem;
}

bool is_right(std::span<const std::byte> bytes) {
  return net::is_intact(net::added_sum(bytes));
}

// The whole ICMP message; empty when it does not lie in the first segment.
std::span<std::byte> message_of(rte_mbuf* frame, const ParsedPacket& packet) {
  const std::size_t end = sizeof(net::EthernetHeader) + packet.total_length;
  if (frame->data_len < end) return {};
  return {rte_pktmbuf_mtod_offset(frame, std::byte*, packet.l4_offset), end - packet.l4_offset};
}

// RFC 5508 REQ-3: options are welcome, the header's checksum must be right, the transport's is not looked at.
std::optional<DropReason> refusal_of_header(std::span<std::byte> quoted, Quote& quote) {
  quote.ip = mutable_view<Ipv4Header>(quoted);
  if (quote.ip == nullptr || quote.ip->version() != 4) return DropReason::IcmpErrorQuote;
  const std::size_t header_length = quote.ip->header_length();
  const std::size_t total_length = quote.ip->total_length.host();
  if (header_length < sizeof(Ipv4Header) || header_length > quoted.size() || total_length < header_length)
    return DropReason::IcmpErrorQuote;
  if (!is_right(quoted.first(header_length))) return DropReason::IcmpErrorChecksum;
  if (quote.ip->fragment_offset() != 0) return DropReason::IcmpErrorQuote;  // has no ports
  // What follows the packet, as the extensions of RFC 4884 do, is none of its bytes.
  quote.l4 = quoted.subspan(header_length, std::min(quoted.size(), total_length) - header_length);
  return std::nullopt;
}

// In its session's terms: a query's identifier is the local port, whatever way it goes.
template <Direction direction>
std::optional<QuotedPorts> ports_of(Quote& quote) {
  if (conntrack::port_space(quote.ip->protocol()) == conntrack::PortSpace::None) return QuotedPorts{};
  if (quote.l4.size() < kQuotedL4) return std::nullopt;
  if (quote.ip->protocol() != net::Protocol::Icmp) return *mutable_view<QuotedPorts>(quote.l4);
  const IcmpHeader& icmp = *mutable_view<IcmpHeader>(quote.l4);
  const bool is_request = icmp.type == IcmpType::EchoRequest || icmp.type == IcmpType::TimestampRequest;
  const bool is_reply = icmp.type == IcmpType::EchoReply || icmp.type == IcmpType::TimestampReply;
  if (!is_request && !is_reply) return std::nullopt;
  // An error that comes in is about what went out, and the other way round: where the VM asks, a request.
  constexpr bool is_inbound = direction == Direction::Inbound;
  quote.is_of_remotes_query = is_request != is_inbound;
  const L4Port remote_port = quote.is_of_remotes_query ? conntrack::kRemoteAsks : conntrack::kInsideAsks;
  return is_inbound ? QuotedPorts{icmp.identifier, remote_port} : QuotedPorts{remote_port, icmp.identifier};
}

template <Direction direction>
std::optional<DropReason> find_quote(std::span<std::byte> message, Quote& quote) {
  if (const auto refusal = refusal_of_header(message.subspan(sizeof(IcmpHeader)), quote)) return refusal;
  const auto ports = ports_of<direction>(quote);
  if (!ports) return DropReason::IcmpErrorQuote;
  const net::Endpoint source{quote.ip->source, ports->source};
  const net::Endpoint destination{quote.ip->destination, ports->destination};
  quote.key = direction == Direction::Inbound ? FlowKey::of(source, destination, quote.ip->protocol())
                                              : FlowKey::of(destination, source, quote.ip->protocol());
  return std::nullopt;
}

// Sets a field of the message and adds the change to what its checksum is to be mended by.
template <typename Field>
void change(Field& field, Field value, ChecksumDelta& changes) {
  changes = changes + ChecksumDelta::of(field, value);
  field = value;
}
void change(net::Be16& field, net::Be16 value, ChecksumDelta& changes) {
  changes = changes + ChecksumDelta::of(field.raw(), value.raw());
  field = value;
}

// The port or identifier, and the checksum if it is there.
template <Direction direction>
void rewrite_quoted_l4(Quote& quote, const Rewrite& rewrite, ChecksumDelta& changes) {
  auto change_port = [&] {
    auto& ports = *mutable_view<QuotedPorts>(quote.l4);
    change(direction == Direction::Inbound ? ports.source : ports.destination, rewrite.endpoint.port,
           changes);
  };
  switch (quote.ip->protocol()) {
    case net::Protocol::Tcp:
      change_port();
      if (auto* tcp = mutable_view<net::TcpHeader>(quote.l4))
        change(tcp->checksum, rewrite.l4_delta.applied_to(tcp->checksum), changes);
      break;
    case net::Protocol::Udp: {
      change_port();
      auto& udp = *mutable_view<net::UdpHeader>(quote.l4);
      change(udp.checksum, rewrite.l4_delta.applied_to_udp(udp.checksum), changes);
      break;
    }
    case net::Protocol::Icmp: {
      auto& icmp = *mutable_view<IcmpHeader>(quote.l4);
      change(icmp.identifier, rewrite.endpoint.port, changes);
      change(icmp.checksum, rewrite.l4_delta.applied_to(icmp.checksum), changes);
      break;
    }
  }
}

template <Direction direction>
void rewrite_message(IcmpHeader& icmp, Quote& quote, const Rewrite& rewrite) {
  ChecksumDelta changes;
  rewrite_quoted_l4<direction>(quote, rewrite, changes);
  net::Ipv4Header& ip = *quote.ip;
  change(direction == Direction::Inbound ? ip.source : ip.destination, rewrite.endpoint.address, changes);
  change(ip.checksum, rewrite.address_delta.applied_to(ip.checksum), changes);
  icmp.checksum = changes.applied_to(icmp.checksum);
}

// Whoever sent the error, it goes on in the name of the session's address (RFC 5508 REQ-5).
template <Direction direction>
void rewrite_outer(Ipv4Header& ip, net::Ipv4Addr address) {
  ChecksumDelta changes = net::kHopDelta;
  change(direction == Direction::Inbound ? ip.destination : ip.source, address, changes);
  ip.ttl = static_cast<std::uint8_t>(ip.ttl - 1);
  ip.checksum = changes.applied_to(ip.checksum);
}

// What can be said before the session is known.
template <Direction direction>
std::optional<DropReason> refusal_of_frame(const Context& context, const Burst& burst, unsigned i) {
  const Ipv4Header& ip = ipv4_of(burst.frames[i]);
  if constexpr (direction == Direction::Inbound) {
    if (!context.state->is_external_at(ip.destination, burst.ports[i]) &&
        !context.state->is_shown_outside(ip.destination))
      return DropReason::NotExternal;
  } else {
    const ForwardingState& state = *context.state;
    if (!state.network_at(burst.ports[i]).has_host(ip.source)) return DropReason::SourceForeign;
    const Uplink& uplink = state.uplink_of(state.ports[burst.ports[i]].network);
    if (!uplink.has_address()) return DropReason::NoUplinkAddress;
    if (burst.packets[i].total_length > uplink.mtu) return DropReason::TooBig;
  }
  if (ip.ttl <= 1) return DropReason::TtlExpired;
  return std::nullopt;
}

// An error goes to whoever sent the quoted packet; and a VM's may be about its own network's sessions only.
template <Direction direction>
bool belongs_to(const Context& context, const Burst& burst, unsigned i, const Quote& quote,
                const Session& session) {
  if (ipv4_of(burst.frames[i]).destination != quote.ip->source) return false;
  // Outside the packet was known by its external endpoint, to a VM by its internal one.
  const bool is_known =
      session.is_untranslated() || session.is_from_inside(quote.key) == (direction == Direction::Outbound);
  if (!is_known) return false;
  const std::vector<Port>& ports = context.state->ports;
  if (direction == Direction::Inbound) return context.state->comes_by(session, burst.ports[i]);
  return ports[session.vm_port()].network == ports[burst.ports[i]].network &&
         !context.state->is_left_behind(session);
}

// RFC 5508 REQ-4: silently.
template <Direction direction>
std::optional<DropReason> refusal_by_session(const Context& context, const Burst& burst, unsigned i,
                                             const Quote& quote, const Session* session) {
  if (quote.is_of_remotes_query && session == nullptr) return DropReason::IcmpErrorQuote;
  if (session == nullptr || !belongs_to<direction>(context, burst, i, quote, *session))
    return DropReason::IcmpError;
  return std::nullopt;
}

template <Direction direction>
std::optional<DropReason> refusal_of_message(std::span<std::byte> message, Quote& quote) {
  if (message.empty()) return DropReason::HeadersSplit;
  if (!is_passed_on(mutable_view<IcmpHeader>(message)->type)) return DropReason::IcmpType;
  if (!is_right(message)) return DropReason::IcmpErrorChecksum;
  return find_quote<direction>(message, quote);
}

}  // namespace

template <Direction direction>
std::optional<FlowKey> quoted_key(rte_mbuf* frame, const ParsedPacket& packet) {
  Quote quote;
  if (refusal_of_message<direction>(message_of(frame, packet), quote)) return std::nullopt;
  return quote.key;
}

template <Direction direction>
Session* translate_icmp_error(Context& context, const Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const std::span<std::byte> message = message_of(frame, burst.packets[i]);
  Quote quote;
  auto refusal = refusal_of_frame<direction>(context, burst, i);
  if (!refusal) refusal = refusal_of_message<direction>(message, quote);
  Session* session = refusal ? nullptr : context.conntrack.find(quote.key);
  if (!refusal) refusal = refusal_by_session<direction>(context, burst, i, quote, session);
  if (refusal) {
    context.drop(frame, burst.ports[i], *refusal);
    return nullptr;
  }
  const Rewrite rewrite = session->rewrite<direction>();
  rewrite_message<direction>(*mutable_view<IcmpHeader>(message), quote, rewrite);
  rewrite_outer<direction>(ipv4_of(frame), rewrite.endpoint.address);
  return session;
}

template std::optional<FlowKey> quoted_key<Direction::Outbound>(rte_mbuf*, const ParsedPacket&);
template std::optional<FlowKey> quoted_key<Direction::Inbound>(rte_mbuf*, const ParsedPacket&);
template Session* translate_icmp_error<Direction::Outbound>(Context&, const Burst&, unsigned);
template Session* translate_icmp_error<Direction::Inbound>(Context&, const Burst&, unsigned);

}  // namespace vmnat::dataplane
