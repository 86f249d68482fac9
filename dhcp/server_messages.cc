// SPDX-License-Identifier: Apache-2.0
// What a DHCP server says to each message: RFC 2131 section 4.3, one function per message type and per kind
// of REQUEST. Each decision names the paragraph it follows, and where an authoritative server says more.
#include "dhcp/server.h"

namespace vmnat::dhcp {
namespace {

constexpr std::string_view kWrongNetwork = "address is not of this network";
constexpr std::string_view kNotAvailable = "address is not available";
constexpr std::string_view kNotYours = "address is not this client's";

ReplyPlan refusal(std::string_view why) {
  return {.type = MessageType::Nak, .error = why};
}

}  // namespace

// RFC 2131 section 4.3.1: choose an address, and keep it for this client for a while.
Server::Verdict Server::on_discover(const Request& request) {
  const auto address = choose_address(request);
  if (!address) return Ignored::PoolExhausted;
  if (is_over_port_limit(request)) return Ignored::PortLimit;
  // RFC 2131 section 3.1 step 2: "the allocating server SHOULD probe the reused address before allocating".
  if (needs_check(request, *address)) {
    hold_offer(request, *address, OfferState::AwaitsCheck);
    return Check{*address, request.header().chaddr, request.key};
  }
  const auto time = lease_time_for(request);
  // RFC 4039 section 3.1: a client that sends option 80 may be given its lease at once. The option goes into
  // that ACK alone: clients refuse an OFFER with it.
  const bool rapid = settings_.rapid_commit && request.options().has(Option::RapidCommit);
  if (rapid)
    bind(request, *address, time);
  else
    hold_offer(request, *address, OfferState::Made);
  return ReplyPlan{.type = rapid ? MessageType::Ack : MessageType::Offer,
                   .yiaddr = *address,
                   .lease_time = time,
                   .hostname = assigned_hostname(request),
                   .rapid_commit = rapid};
}

// RFC 2131 section 4.3.2, table 4: the client's state is told by server identifier, option 50 and ciaddr.
//   SELECTING   server identifier, option 50, ciaddr zero      INIT-REBOOT  option 50, ciaddr zero
//   RENEWING    ciaddr, sent to us alone                       REBINDING    ciaddr, broadcast
Server::Verdict Server::on_request(const Request& request) {
  const auto server = request.options().address(Option::ServerId);
  const auto requested = request.options().address(Option::RequestedAddress);
  const net::Ipv4Addr ciaddr = request.header().ciaddr;
  if (server && *server != settings_.gateway.address) return on_other_server(request);
  if (server && requested) return on_selecting(request, *requested);
  if (!ciaddr.is_unspecified()) {
    const bool broadcast = request.datagram.destination.address != settings_.gateway.address;
    return broadcast ? on_rebinding(request, ciaddr) : on_renewing(request, ciaddr);
  }
  if (!requested) return Ignored::BadRequest;
  return on_init_reboot(request, *requested);
}

// RFC 2131 section 3.1 step 4: "Those servers not selected by the DHCPREQUEST message use the message as
// notification that the client has declined that server's offer."
Server::Verdict Server::on_other_server(const Request& request) {
  const LeaseTable::Record* record = table_.of(request.key);
  if (record != nullptr && record->lease.state == LeaseState::Offered && record->lease.port == request.port)
    table_.forget(record->lease.address);
  return Ignored::OtherServer;
}

// RFC 2131 section 4.3.2, SELECTING: the client took our offer. After a restart, or a minute of thought, the
// offer is not known any more: the address is still given when it is free.
Server::Verdict Server::on_selecting(const Request& request, net::Ipv4Addr address) {
  if (!settings_.gateway.contains(address)) return refusal(kWrongNetwork);
  return confirm(request, address, kNotAvailable);
}

// RFC 2131 section 4.3.2, INIT-REBOOT: the client remembers an address. "Server SHOULD send a DHCPNAK message
// to the client if the requested IP address is incorrect, or is on the wrong network." "If the DHCP server
// has no record of this client, then it MUST remain silent": unless it is the only one and knows that nobody
// else will answer (authoritative); then the address is confirmed if it is free, refused if not.
Server::Verdict Server::on_init_reboot(const Request& request, net::Ipv4Addr address) {
  if (!settings_.gateway.contains(address)) return refusal(kWrongNetwork);
  if (!settings_.authoritative && table_.of(request.key) == nullptr) return Ignored::UnknownClient;
  return confirm(request, address, kNotYours);
}

// RFC 2131 section 4.3.2, RENEWING: unicast to us, so the client believes the lease to be ours.
Server::Verdict Server::on_renewing(const Request& request, net::Ipv4Addr address) {
  if (!settings_.gateway.contains(address)) return refusal(kWrongNetwork);
  if (!settings_.authoritative && table_.of(request.key) == nullptr) return Ignored::UnknownClient;
  return confirm(request, address, kNotYours);
}

// RFC 2131 section 4.3.2, REBINDING: "The DHCP server SHOULD check 'ciaddr' for correctness before replying".
// The message is a broadcast: the lease may be another server's, and a server that is not authoritative says
// nothing about an address that it has no record of.
Server::Verdict Server::on_rebinding(const Request& request, net::Ipv4Addr address) {
  const LeaseTable::Record* record = table_.of(request.key);
  const bool known = record != nullptr && record->lease.address == address;
  if (!settings_.authoritative && !known) return Ignored::UnknownClient;
  if (!settings_.gateway.contains(address)) return refusal(kWrongNetwork);
  return confirm(request, address, kNotYours);
}

// The lease as asked for, or a NAK that says `otherwise`.
Server::Verdict Server::confirm(const Request& request, net::Ipv4Addr address, std::string_view otherwise) {
  if (!may_hold(request, address)) return refusal(otherwise);
  if (is_over_port_limit(request)) return Ignored::PortLimit;
  const auto time = lease_time_for(request);
  bind(request, address, time);
  return ReplyPlan{.type = MessageType::Ack,
                   .yiaddr = address,
                   .in_use = request.header().ciaddr == address ? address : net::Ipv4Addr{},
                   .lease_time = time,
                   .hostname = assigned_hostname(request)};
}

// RFC 2131 section 4.3.3: the client found the address in use. "The server MUST mark the network address as
// not available"; for decline_time, since what uses it may go away.
Server::Verdict Server::on_decline(const Request& request) {
  const auto server = request.options().address(Option::ServerId);
  const auto address = request.options().address(Option::RequestedAddress);
  if (!server || !address) return Ignored::BadRequest;  // table 5: both MUST be there
  if (*server != settings_.gateway.address) return Ignored::OtherServer;
  const LeaseTable::Record* record = held_record(request, *address);
  if (record == nullptr) return Ignored::NotTheHolder;
  end_lease(record->lease, LeaseState::Declined, moved(request.now, settings_.decline_time));
  return {};
}

// RFC 2131 section 4.3.4: "the server marks the network address as not allocated. The server SHOULD retain a
// record of the client's initialization parameters for possible reuse".
Server::Verdict Server::on_release(const Request& request) {
  const auto server = request.options().address(Option::ServerId);
  if (!server || request.header().ciaddr.is_unspecified()) return Ignored::BadRequest;  // table 5
  if (*server != settings_.gateway.address) return Ignored::OtherServer;
  const LeaseTable::Record* record = held_record(request, request.header().ciaddr);
  if (record == nullptr) return Ignored::NotTheHolder;
  end_lease(record->lease, LeaseState::Released, request.now);
  return {};
}

// RFC 2131 section 4.3.5: the client has an address and wants the rest. "The server MUST NOT send a lease
// expiration time to the client and SHOULD NOT fill in 'yiaddr'." Clients are known that leave ciaddr empty:
// then, as with ISC's server, the address is the one that they send from. Where it differs from ciaddr,
// ciaddr counts, by the RFC: the frame goes to the sender's MAC in any case.
Server::Verdict Server::on_inform(const Request& request) {
  const MessageHeader& header = request.header();
  const bool is_left_out = header.ciaddr.is_unspecified() && header.giaddr.is_unspecified();
  const net::Ipv4Addr address = is_left_out ? request.datagram.source.address : header.ciaddr;
  if (!settings_.gateway.is_host(address) || address == settings_.gateway.address) return Ignored::BadRequest;
  return ReplyPlan{
      .type = MessageType::Ack, .yiaddr = {}, .in_use = address, .hostname = assigned_hostname(request)};
}

// RFC 1534 section 2: a BOOTP client keeps its address for ever, and so gets one only where one is reserved
// for it. The lease ends by hand, or when the same machine speaks DHCP.
Server::Verdict Server::on_bootp(const Request& request) {
  const net::MacAddr mac = request.header().chaddr;
  const Reservation* reservation = reservation_of(mac, request.port);
  if (reservation == nullptr || !may_hold(request, reservation->address)) return Ignored::Bootp;
  const net::Ipv4Addr address = reservation->address;
  bind(request, address, kInfiniteLease);
  return ReplyPlan{.type = {},
                   .yiaddr = address,
                   .in_use = request.header().ciaddr == address ? address : net::Ipv4Addr{},
                   .hostname = assigned_hostname(request)};
}

}  // namespace vmnat::dhcp
