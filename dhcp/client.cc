// SPDX-License-Identifier: Apache-2.0
// The states of RFC 2131 figure 5 and their times; what is said in them is in client_messages.cc.
#include "dhcp/client.h"

#include <algorithm>

#include "net/arp.h"

namespace vmnat::dhcp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr unsigned kRequestAttempts = 4;  // section 4.4.1: 4 + 8 + 16 + 32 s
constexpr unsigned kRebootAttempts = 2;
constexpr unsigned kLongestBackoff = 4;  // 64 s
constexpr unsigned kProbes = 3;
constexpr milliseconds kProbeInterval{300};
constexpr seconds kAfterDecline{10};     // section 3.1 step 5: "a minimum of ten seconds"
constexpr seconds kDefendInterval{10};   // RFC 5227 section 1.1
constexpr seconds kShortestRetry{60};    // section 4.4.5, in Renewing and Rebinding
constexpr unsigned kLongestPenalty = 6;  // 64 s after many NAKs in a row

}  // namespace

std::string_view to_string(ClientState state) {
  static constexpr std::string_view kNames[] = {
#define VMNAT_X(enumerator, name) name,
      VMNAT_DHCP_CLIENT_STATES(VMNAT_X)
#undef VMNAT_X
  };
  return kNames[static_cast<std::size_t>(state)];
}

bool Binding::means_the_same_as(const Binding& other) const {
  return address == other.address && router == other.router && server == other.server && dns == other.dns &&
         mtu == other.mtu;
}

Client::Client(const Settings& settings, std::uint64_t seed) : settings_(settings), random_(seed) {}

// Section 4.1: 4 s, doubled each time up to 64 s, randomised by one second either way.
milliseconds Client::backoff() {
  const milliseconds middle = seconds(4) * (1u << std::min(attempt_, kLongestBackoff));
  return middle - milliseconds(1000) + milliseconds(random_.next() % 2001);
}

void Client::start(std::optional<net::Ipv4Addr> remembered, ClientTime now) {
  if (state_ != ClientState::Stopped) return;
  if (remembered)
    reboot(*remembered, now);
  else
    begin(now, milliseconds(0));
}

void Client::link_returned(ClientTime now) {
  if (state_ == ClientState::Stopped) return;
  if (binding_)
    reboot(binding_->address.address, now);
  else
    begin(now, milliseconds(0));
}

void Client::begin(ClientTime now, milliseconds after) {
  state_ = ClientState::Init;
  candidate_.reset();
  next_ = now + after;
  if (after == milliseconds(0)) discover(now);
}

void Client::discover(ClientTime now) {
  state_ = ClientState::Selecting;
  begun_ = now;
  attempt_ = 0;
  lease_time_ = 0;
  xid_ = static_cast<std::uint32_t>(random_.next());
  send(MessageType::Discover, now);
  next_ = now + backoff();
}

// Section 3.2: "the client broadcasts a DHCPREQUEST ... The message includes the client's network address in
// the 'requested IP address' option."
void Client::reboot(net::Ipv4Addr address, ClientTime now) {
  state_ = ClientState::Rebooting;
  candidate_.reset();
  begun_ = now;
  attempt_ = 0;
  asked_ = address;
  server_ = {};
  xid_ = static_cast<std::uint32_t>(random_.next());
  send(MessageType::Request, now);
  next_ = now + backoff();
}

void Client::receive(ByteView frame, ClientTime now) {
  const auto heard = heeded(frame);
  if (!heard) {
    ++counters_.ignored;
    return;
  }
  ++counters_.received;
  switch (*heard->message.type()) {
    case MessageType::Offer:
      return on_offer(*heard, now);
    case MessageType::Ack:
      return on_ack(*heard, now);
    case MessageType::Nak:
      return on_nak(now);
    default:
      return;
  }
}

// The first offer that can be used is taken: servers of one network do not compete.
void Client::on_offer(const Heard& offer, ClientTime now) {
  asked_ = offer.message.header.yiaddr;
  server_ = offer.server;
  lease_time_ = offer.message.options.long_value(Option::LeaseTime).value_or(0);
  state_ = ClientState::Requesting;
  attempt_ = 0;
  send(MessageType::Request, now);
  next_ = now + backoff();
}

void Client::on_ack(const Heard& ack, ClientTime now) {
  auto given = binding_in(ack, now);
  if (!given) {
    --counters_.received;
    ++counters_.ignored;
    return;
  }
  if (binding_ && binding_->address.address == given->address.address)
    return bind(std::move(*given), ClientNews::Renewed);
  // "The client SHOULD perform a final check on the parameters (e.g., ARP for allocated network address)".
  state_ = ClientState::Checking;
  candidate_ = std::move(given);
  attempt_ = 0;
  probe_again(now);
}

void Client::on_nak(ClientTime now) {
  lose(ClientNews::Refused);
  asked_ = {};
  // At once the first time; a server that refuses what it offers is not to be asked in a loop.
  const auto wait = refusals_ == 0 ? seconds(0) : seconds(1u << std::min(refusals_, kLongestPenalty));
  ++refusals_;
  begin(now, wait);
}

void Client::receive_arp(ByteView frame, ClientTime now) {
  const auto* arp = net::arp_in(frame);
  if (arp == nullptr || arp->sender_mac == settings_.mac) return;
  const net::Ipv4Addr sender = arp->sender_address;
  if (state_ == ClientState::Checking) {
    // RFC 5227 section 2.1.1: whoever has the address, in any ARP packet, or is probing for it as well.
    const bool is_probe = sender.is_unspecified() && arp->op() == net::ArpOperation::Request;
    if (sender == checked() || (is_probe && arp->target_address == checked())) decline(*candidate_, now);
  } else if (binding_ && sender == binding_->address.address) {
    on_claim(now);
  }
}

// RFC 5227 section 2.4 b: after the first one the address may be defended, after a second one within ten
// seconds it must be given up.
void Client::on_claim(ClientTime now) {
  const bool is_again = claimed_ != ClientTime::min() && now - claimed_ < kDefendInterval;
  claimed_ = now;
  if (is_again) decline(*binding_, now);
}

void Client::decline(const Binding& taken, ClientTime now) {
  asked_ = taken.address.address;
  server_ = taken.server;
  lose(ClientNews::Conflict);
  begin(now, kAfterDecline);
  send(MessageType::Decline, now);
  asked_ = {};
}

void Client::advance(ClientTime now) {
  if (binding_ && now >= binding_->expires) {
    // RFC 2131 section 4.4.5: "The client MUST immediately stop any other network processing".
    lose(ClientNews::Expired);
    return begin(now, milliseconds(0));
  }
  if (now < next_) return;
  switch (state_) {
    case ClientState::Stopped:
      return;
    case ClientState::Init:
      return discover(now);
    case ClientState::Selecting:
      ++attempt_;
      send(MessageType::Discover, now);
      next_ = now + backoff();
      return;
    case ClientState::Requesting:
      return repeat_or(now, kRequestAttempts, &Client::give_up_request);
    case ClientState::Rebooting:
      return repeat_or(now, kRebootAttempts, &Client::give_up_reboot);
    case ClientState::Checking:
      return probe_again(now);
    case ClientState::Bound:
    case ClientState::Renewing:
    case ClientState::Rebinding:
      return watch_lease(now);
  }
}

void Client::repeat_or(ClientTime now, unsigned attempts, void (Client::*give_up)(ClientTime)) {
  if (++attempt_ >= attempts) return (this->*give_up)(now);
  send(MessageType::Request, now);
  next_ = now + backoff();
}

void Client::give_up_request(ClientTime now) {
  asked_ = {};
  begin(now, milliseconds(0));
}

// Section 3.2 step 4: without an answer "the client MAY choose to use the previously allocated network
// address ... for the remainder of the unexpired lease": what is held is kept, what is only remembered not.
void Client::give_up_reboot(ClientTime now) {
  if (!binding_) return begin(now, milliseconds(0));
  state_ = ClientState::Bound;
  next_ = binding_->renew;
}

void Client::probe_again(ClientTime now) {
  if (attempt_ == kProbes) return bind(std::move(*candidate_), ClientNews::Bound);
  ++attempt_;
  send_probe();
  next_ = now + kProbeInterval;
}

void Client::bind(Binding binding, ClientNews news) {
  state_ = ClientState::Bound;
  refusals_ = 0;
  asked_ = binding.address.address;
  next_ = binding.renew;
  binding_ = std::move(binding);
  candidate_.reset();
  news_.push_back(news);
}

// Section 4.4.5. advance() has seen to the end of the lease.
void Client::watch_lease(ClientTime now) {
  if (state_ != ClientState::Rebinding && now >= binding_->rebind) {
    if (state_ == ClientState::Bound) xid_ = static_cast<std::uint32_t>(random_.next());
    state_ = ClientState::Rebinding;
  } else if (state_ == ClientState::Bound) {
    state_ = ClientState::Renewing;
    xid_ = static_cast<std::uint32_t>(random_.next());
    begun_ = now;
  }
  ask_on(now, state_ == ClientState::Renewing ? binding_->rebind : binding_->expires);
}

// "the client SHOULD wait one-half of the remaining time ... down to a minimum of 60 seconds".
void Client::ask_on(ClientTime now, ClientTime until) {
  send(MessageType::Request, now);
  const auto half = std::max<ClientTime::duration>((until - now) / 2, kShortestRetry);
  next_ = std::min(until, now + half);
}

void Client::lose(ClientNews why) {
  binding_.reset();
  claimed_ = ClientTime::min();
  news_.push_back(why);
}

}  // namespace vmnat::dhcp
