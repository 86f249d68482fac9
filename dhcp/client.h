// SPDX-License-Identifier: Apache-2.0
// A DHCP client for one interface, as a function of (event, now, random): RFC 2131's client side.
//
// It holds the protocol's state and nothing else: no socket, no clock. The caller tells it what happens,
// sends the frames that it asks for, and uses the lease in `binding()`:
//
//   client.start(remembered, now);                       the link is up
//   client.receive(frame, now), receive_arp(frame, now)  frames for UDP port 68, ARP
//   client.advance(now);                                 at next_action() or any time later
//   for (ClientFrame& out : client.take_output()) ...
//
//   Init -> Selecting -> Requesting -> Checking -> Bound -> Renewing -> Rebinding -> Init (lease is over)
//              ^                          ^  '-> conflict: DECLINE, Init     |            |
//   Rebooting -+---------- ACK -----------'                                  '-- ACK -----+-> Bound
//
// A NAK leads to Init from everywhere but Init, Selecting and Checking. Requests are repeated after 4, 8, 16,
// 32, 64 s, each give or take one (section 4.1). Checking is RFC 5227's probe with shorter waits: three
// questions in 900 ms. An address is used from Bound on and no longer than its lease; one that another
// station claims twice within ten seconds is declined, too (RFC 5227 section 2.4 b).
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "dhcp/frame.h"

namespace vmnat::dhcp {

// A lease goes on while this machine sleeps.
using ClientTime = BootTime;

// A lease as the client uses it. Times that never come are ClientTime::max().
struct Binding {
  net::Ipv4Prefix address;
  net::Ipv4Addr router;  // unspecified: none was told
  net::Ipv4Addr server;  // unspecified: it has no name; it is asked by broadcast
  std::vector<net::Ipv4Addr> dns;
  std::uint16_t mtu = 0;  // 0: not told
  ClientTime renew, rebind, expires;

  bool operator==(const Binding&) const = default;
  // Whether both are the same but for their times.
  [[nodiscard]] bool means_the_same_as(const Binding& other) const;
};

// X(enumerator, name)
#define VMNAT_DHCP_CLIENT_STATES(X) \
  X(Stopped, "stopped")             \
  X(Init, "init")                   \
  X(Selecting, "selecting")         \
  X(Requesting, "requesting")       \
  X(Rebooting, "rebooting")         \
  X(Checking, "checking")           \
  X(Bound, "bound")                 \
  X(Renewing, "renewing")           \
  X(Rebinding, "rebinding")
enum class ClientState : std::uint8_t {
#define VMNAT_X(enumerator, name) enumerator,
  VMNAT_DHCP_CLIENT_STATES(VMNAT_X)
#undef VMNAT_X
};
std::string_view to_string(ClientState state);

// Events that the owner may log.
enum class ClientNews : std::uint8_t { Bound, Renewed, Refused, Conflict, Expired, LeaseTimeMissing };

struct ClientFrame {
  Frame frame;
  // Unspecified: the frame is complete. Else it goes to this address by IP, and the caller fills in its
  // destination MAC.
  net::Ipv4Addr by_unicast_to;
};

struct ClientCounters {
  std::uint64_t sent = 0;      // DHCP messages
  std::uint64_t received = 0;  // that were heeded
  std::uint64_t ignored = 0;   // not for us, malformed, or out of place
};

class Client {
 public:
  struct Settings {
    net::MacAddr mac;
    std::uint16_t mtu = 1500;  // option 57: no reply is larger
  };
  Client(const Settings& settings, std::uint64_t seed);

  // From Stopped: asks for the address that it had before a restart (RFC 2131 section 3.2), or for any.
  void start(std::optional<net::Ipv4Addr> remembered, ClientTime now);
  // The link was down and is up again, and may be another one. The client asks for its lease to be confirmed,
  // and uses it meanwhile.
  void link_returned(ClientTime now);
  void receive(ByteView frame, ClientTime now);
  void receive_arp(ByteView frame, ClientTime now);
  void advance(ClientTime now);

  [[nodiscard]] ClientTime next_action() const {
    return binding_ ? std::min(next_, binding_->expires) : next_;
  }
  std::vector<ClientFrame> take_output() { return std::exchange(output_, {}); }
  std::vector<ClientNews> take_news() { return std::exchange(news_, {}); }

  [[nodiscard]] ClientState state() const { return state_; }
  // Held in Bound, Renewing, Rebinding, and in Rebooting after link_returned(); else nothing.
  [[nodiscard]] const std::optional<Binding>& binding() const { return binding_; }
  [[nodiscard]] const ClientCounters& counters() const { return counters_; }
  // The address that other stations are asked about before it is used. The caller gives all ARP about it to
  // receive_arp.
  [[nodiscard]] net::Ipv4Addr checked() const {
    return candidate_ ? candidate_->address.address : net::Ipv4Addr{};
  }
  // The transaction identifier: a reply without it is not heeded.
  [[nodiscard]] std::uint32_t transaction() const { return xid_; }

 private:
  struct Heard {
    Message message;
    net::Ipv4Addr server;  // who says it
  };
  // client.cc: states and times
  void begin(ClientTime now, std::chrono::milliseconds after);
  void discover(ClientTime now);
  void reboot(net::Ipv4Addr address, ClientTime now);
  void on_offer(const Heard& offer, ClientTime now);
  void on_ack(const Heard& ack, ClientTime now);
  void on_nak(ClientTime now);
  void repeat_or(ClientTime now, unsigned attempts, void (Client::*give_up)(ClientTime));
  void give_up_request(ClientTime now);
  void give_up_reboot(ClientTime now);
  void probe_again(ClientTime now);
  void on_claim(ClientTime now);
  void decline(const Binding& taken, ClientTime now);
  void bind(Binding binding, ClientNews news);
  void watch_lease(ClientTime now);
  void ask_on(ClientTime now, ClientTime until);
  void lose(ClientNews why);
  [[nodiscard]] std::chrono::milliseconds backoff();

  // client_messages.cc: what is said and understood
  void send(MessageType type, ClientTime now);
  void send_probe();
  [[nodiscard]] net::Ipv4Addr expected_server() const;
  [[nodiscard]] std::optional<Heard> heeded(ByteView frame) const;
  [[nodiscard]] bool is_for_us(const Message& message) const;
  [[nodiscard]] bool is_awaited(MessageType type, net::Ipv4Addr offered) const;
  std::uint32_t lease_time_in(const OptionSet& options);
  std::optional<Binding> binding_in(const Heard& ack, ClientTime now);
  void set_times(Binding& binding, const OptionSet& options, std::uint32_t lease, ClientTime now);

  Settings settings_;
  Random random_;
  ClientState state_ = ClientState::Stopped;
  ClientTime next_ = ClientTime::max();
  ClientTime begun_{};  // field `secs` counts from here
  unsigned attempt_ = 0;
  unsigned refusals_ = 0;  // NAKs since the last lease
  std::uint32_t xid_ = 0;
  net::Ipv4Addr asked_;               // the address that was offered, or had before
  net::Ipv4Addr server_;              // its offer was taken; unspecified: it has not named itself
  std::uint32_t lease_time_ = 0;      // seconds, as the server said last; 0: it never has
  std::optional<Binding> candidate_;  // acknowledged, being checked
  std::optional<Binding> binding_;
  ClientTime claimed_ = ClientTime::min();  // another station said that it has the address
  std::vector<ClientFrame> output_;
  std::vector<ClientNews> news_;
  ClientCounters counters_;
};

}  // namespace vmnat::dhcp
