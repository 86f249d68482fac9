// SPDX-License-Identifier: Apache-2.0
// From a frame to a decision and back: checks in the order of the layers, then one function per message type
// (server_messages.cc), then the reply. Whatever fails a check is counted by its reason and forgotten.
#include "dhcp/server.h"

namespace vmnat::dhcp {

Server::Server(NetworkSettings settings, std::uint64_t seed)
    : settings_(std::move(settings)), seed_(seed), table_(make_pool()) {
  index_settings();
}

std::optional<Frame> Server::answer(ByteView frame, const Ingress& ingress, WallTime now) {
  check_.reset();
  expire(now);
  const std::string port{ingress.port};
  const PortLimits limits = ingress.limits.value_or(settings_.limits);
  if (!ingress.is_repeated && !budget_.take(port, limits.messages_per_second, now))
    return ignore(Ignored::RateLimit, port);

  const auto parsed = parse_frame(frame);
  if (const auto* reason = std::get_if<Ignored>(&parsed)) return ignore(*reason, port);
  const auto& datagram = std::get<Datagram>(parsed);
  if (const auto reason = fault_of(datagram)) return ignore(*reason, port);
  const auto message = parse_request(datagram.payload);
  if (!message) return ignore(Ignored::NotDhcp, port);
  if (const auto reason = fault_of(*message, datagram, ingress)) return ignore(*reason, port);

  const Request request{
      *message, datagram,
      port,     key_of(message->header.chaddr, message->options.bytes(Option::ClientId), ingress.port),
      limits,   now};
  Verdict verdict = decide(request);
  if (auto* check = std::get_if<Check>(&verdict)) {
    check_ = std::move(*check);
    return std::nullopt;
  }
  ++counters_.received[kind_of(message->type())];
  return conclude(request, verdict);
}

std::optional<Frame> Server::conclude(const Request& request, const Verdict& verdict) {
  if (const auto* reason = std::get_if<Ignored>(&verdict)) return ignore(*reason, request.port);
  const auto* plan = std::get_if<ReplyPlan>(&verdict);
  if (plan == nullptr) {
    ++counters_.concluded;
    return std::nullopt;
  }
  ++counters_.sent[kind_of(plan->type)];
  return build_reply(settings_, request.message, request.datagram, *plan, counters_);
}

std::optional<Frame> Server::ignore(Ignored reason, const std::string& port) {
  ++counters_.ignored[static_cast<std::size_t>(reason)];
  ++ignored_by_port_[port][static_cast<std::size_t>(reason)];
  return std::nullopt;
}

IgnoredCounts Server::ignored_from(const std::string& port) const {
  const auto found = ignored_by_port_.find(port);
  return found == ignored_by_port_.end() ? IgnoredCounts{} : found->second;
}

void Server::clock_was_set(WallTime::duration by) {
  table_.shift_ends(by);
  for (auto& [address, until] : known_free_) until = moved(until, by);
}

std::optional<Ignored> Server::fault_of(const Datagram& datagram) const {
  const bool our_mac =
      datagram.destination_mac == net::kBroadcastMac || datagram.destination_mac == settings_.gateway_mac;
  const net::Ipv4Addr to = datagram.destination.address;
  const bool our_address = to == kBroadcastAddress || to == settings_.gateway.address ||
                           (settings_.gateway.has_edges() && to == settings_.gateway.broadcast());
  if (!our_mac || !our_address || datagram.destination.port != kServerPort) return Ignored::NotForUs;
  return std::nullopt;
}

std::optional<Ignored> Server::fault_of(const Message& message, const Datagram& datagram,
                                        const Ingress& ingress) const {
  const MessageHeader& header = message.header;
  if (header.op != Op::Request) return Ignored::NotDhcp;
  if (header.hardware_type != MessageHeader::kEthernet || header.hardware_length != sizeof(net::MacAddr) ||
      header.chaddr.is_zero() || header.chaddr.is_group() || datagram.source_mac.is_group())
    return Ignored::BadHardware;
  const bool relayed = !header.giaddr.is_unspecified();
  // Of a bridge that sends under a MAC of its own, or of a relay, chaddr may be anybody's: a VM that does so
  // where none should would speak for its neighbours.
  if (!ingress.may_relay && relayed) return Ignored::NoRelay;
  if (!ingress.may_relay && header.chaddr != datagram.source_mac) return Ignored::ForeignMac;
  // A relay stands for the clients of its own network; this server has addresses for this one alone.
  if (relayed && (!settings_.gateway.contains(header.giaddr) || header.giaddr == settings_.gateway.address))
    return Ignored::ForeignRelay;
  if (message.is_bootp()) return std::nullopt;
  const auto type = message.type();
  if (!type || *type == MessageType::Offer || *type == MessageType::Ack || *type == MessageType::Nak)
    return Ignored::UnknownType;
  return std::nullopt;
}

Server::Verdict Server::decide(const Request& request) {
  const auto type = request.message.type();
  if (!type) return is_held_elsewhere(request) ? Verdict{Ignored::HeldElsewhere} : on_bootp(request);
  switch (*type) {
    case MessageType::Discover:
      return is_held_elsewhere(request) ? Verdict{Ignored::HeldElsewhere} : on_discover(request);
    case MessageType::Request:
      return is_held_elsewhere(request) ? Verdict{Ignored::HeldElsewhere} : on_request(request);
    case MessageType::Decline:
      return on_decline(request);
    case MessageType::Release:
      return on_release(request);
    case MessageType::Inform:
      return on_inform(request);
    case MessageType::Offer:
    case MessageType::Ack:
    case MessageType::Nak:
      break;
  }
  return Ignored::UnknownType;
}

}  // namespace vmnat::dhcp
