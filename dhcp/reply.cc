// SPDX-License-Identifier: Apache-2.0
// Writing replies: the header of RFC 2131 table 3, then options by importance.
#include "dhcp/reply.h"

#include <algorithm>
#include <bitset>
#include <cstring>

#include "dhcp/boot.h"
#include "dhcp/client_name.h"
#include "net/wire.h"

namespace vmnat::dhcp {
namespace {

constexpr std::uint32_t kInfiniteSeconds = 0xffffffff;  // RFC 2131 section 3.3: never renewed
constexpr std::size_t kMaxLabel = 63;                   // RFC 1035 section 2.3.4
constexpr std::size_t kMaxEchoed = 255;  // of client-id and relay option: both fit into 576 bytes

void append(Bytes& bytes, ByteView more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

// A text into a field of fixed size, cut where it must be, with room for the closing zero.
template <std::size_t Size>
void copy_text(std::array<char, Size>& field, std::string_view text) {
  std::memcpy(field.data(), text.data(), std::min(text.size(), Size - 1));
}

// An option that goes back as it came; empty when it is absent or too long to be honest.
ByteView echoed(const Message& request, Option code) {
  const ByteView value = request.options.bytes(code);
  return value.size() <= kMaxEchoed ? value : ByteView{};
}

// A file's name in pieces is another file: what does not fit, with its closing zero, goes into option 67
// alone.
bool fits_header(const Boot& boot) {
  return boot.file.size() < sizeof(MessageHeader::file);
}

std::string server_name(const Boot& boot) {
  return boot.server_name.empty() ? net::to_string(boot.server) : boot.server_name;
}

// RFC 2131 table 3, the fields above the options.
MessageHeader reply_header(const Message& request, const ReplyPlan& plan, const Boot* boot) {
  MessageHeader header = request.header;
  header.op = Op::Reply;
  header.hops = 0;
  header.secs = {};
  header.yiaddr = plan.yiaddr;
  header.siaddr = {};
  header.sname = {};
  header.file = {};
  const bool keeps_ciaddr = !plan.type || plan.type == MessageType::Ack;
  if (!keeps_ciaddr) header.ciaddr = {};  // "0" in OFFER and NAK
  if (plan.type == MessageType::Nak) {
    // RFC 2131 section 4.3.2: a relayed NAK has the broadcast bit set, as the client's address may be wrong.
    if (!header.giaddr.is_unspecified())
      header.flags = net::Be16::from_host(header.flags.host() | MessageHeader::kBroadcastFlag);
  } else if (boot != nullptr) {
    header.siaddr = boot->server;
    copy_text(header.sname, boot->server_name);
    if (fits_header(*boot)) copy_text(header.file, boot->file);
  }
  return header;
}

// Writes the options of one reply. Raw options of the configuration go before the built-in ones of the same
// code, and an option once written is not written again.
class OptionWriter {
 public:
  OptionWriter(const NetworkSettings& settings, const Message& request, MessageBuilder& builder)
      : settings_(settings), request_(request), builder_(builder) {
    for (const RawOption& option : settings.options) given_raw_.set(option.code);
  }

  void add_lease_times(std::chrono::seconds lease_time);
  void add_network();
  void add_names(std::string_view hostname);
  void add_boot(const Boot* boot);
  void add_raw();
  void add_fqdn(std::string_view hostname);

 private:
  [[nodiscard]] bool is_given_raw(Option code) const {
    return given_raw_.test(static_cast<std::uint8_t>(code));
  }
  [[nodiscard]] bool wanted(Option code) const {
    return request_.options.asks_for(code) && !is_given_raw(code);
  }
  [[nodiscard]] bool suits_class(const RawOption& option) const;
  [[nodiscard]] Bytes qualified(std::string_view hostname, bool in_wire_format) const;
  template <typename Value>
  void add_if_wanted(Option code, const Value& value) {
    if (!std::empty(value) && wanted(code)) builder_.add(code, value);
  }

  const NetworkSettings& settings_;
  const Message& request_;
  MessageBuilder& builder_;
  std::bitset<256> given_raw_;
};

void OptionWriter::add_lease_times(std::chrono::seconds lease_time) {
  const auto seconds =
      static_cast<std::uint32_t>(std::min<std::int64_t>(lease_time.count(), kInfiniteSeconds));
  builder_.add_long(Option::LeaseTime, seconds);
  if (seconds == kInfiniteSeconds) return;
  // RFC 2131 section 4.4.5: T1 defaults to half, T2 to seven eighths of the lease.
  builder_.add_long(Option::RenewalTime, seconds / 2);
  builder_.add_long(Option::RebindingTime, seconds - seconds / 8);
}

void OptionWriter::add_network() {
  const net::Ipv4Prefix& gateway = settings_.gateway;
  if (settings_.offer_router && wanted(Option::Router)) builder_.add(Option::Router, gateway.address);
  add_if_wanted(Option::DnsServers, std::span{settings_.dns});
  if (wanted(Option::InterfaceMtu)) builder_.add_short(Option::InterfaceMtu, settings_.mtu);
  if (wanted(Option::BroadcastAddress)) builder_.add(Option::BroadcastAddress, gateway.broadcast());
  if (!settings_.routes.empty()) {
    // RFC 3442: a client that gets 121 ignores option 3, so the default route stands in it too.
    const Bytes routes = encoded_routes(
        settings_.routes, settings_.offer_router ? std::optional{gateway.address} : std::nullopt);
    add_if_wanted(Option::ClasslessRoutes, ByteView{routes});
    add_if_wanted(Option::ClasslessRoutesMicrosoft, ByteView{routes});
  }
  add_if_wanted(Option::NtpServers, std::span{settings_.ntp});
}

void OptionWriter::add_names(std::string_view hostname) {
  add_if_wanted(Option::DomainName, std::string_view{settings_.domain});
  add_if_wanted(Option::HostName, hostname);
  const Bytes search = encoded_names(settings_.search);
  add_if_wanted(Option::DomainSearch, ByteView{search});
}

// The header's fields are set in any case; some boot ROMs read only the options (and ask for them). UEFI's
// HTTP boot takes an answer for its own by option 60 and the URL in 67, and does not always ask for them
// (UEFI specification, "HTTP Boot").
void OptionWriter::add_boot(const Boot* boot) {
  if (boot == nullptr) return;
  const OptionSet& asked = request_.options;
  const bool by_http = is_of_class(asked, kHttpClass);
  if (by_http) builder_.add(Option::VendorClass, kHttpClass);
  if (asked.names(Option::TftpServerName)) add_if_wanted(Option::TftpServerName, server_name(*boot));
  const bool is_needed = by_http || !fits_header(*boot) || asked.names(Option::BootFileName);
  if (is_needed && !is_given_raw(Option::BootFileName)) builder_.add(Option::BootFileName, boot->file);
}

// Boot clients heed no answer of another class than their own, so option 60 does not go to everybody: whether
// "HTTPClient" does is add_boot's decision.
bool OptionWriter::suits_class(const RawOption& option) const {
  if (static_cast<Option>(option.code) != Option::VendorClass) return true;
  const std::string_view text{reinterpret_cast<const char*>(option.value.data()), option.value.size()};
  if (text.starts_with(kHttpClass)) return false;
  return !text.starts_with(kPxeClass) || is_of_class(request_.options, kPxeClass);
}

void OptionWriter::add_raw() {
  for (const RawOption& option : settings_.options) {
    const auto code = static_cast<Option>(option.code);
    const bool is_due = option.forced || request_.options.asks_for(code);
    if (is_due && suits_class(option)) builder_.add(code, ByteView{option.value});
  }
}

// The name in the client's encoding, with the network's domain when that is known.
Bytes OptionWriter::qualified(std::string_view hostname, bool in_wire_format) const {
  std::string name{hostname};
  if (!settings_.domain.empty()) name += '.' + settings_.domain;
  Bytes bytes;
  if (!in_wire_format) {
    append(bytes, bytes_of(name));
    return bytes;
  }
  bytes = encoded_names(std::span{&name, 1});
  if (settings_.domain.empty()) bytes.pop_back();  // no root: not qualified (RFC 4702 section 2.3)
  return bytes;
}

// RFC 4702 section 4: who sent the option gets it back, in an OFFER or ACK to DISCOVER or REQUEST. This
// server updates no names, whatever the client proposed (N; O where the client had S). The name is the
// reserved one, else the client's as it came.
void OptionWriter::add_fqdn(std::string_view hostname) {
  const auto asked = client_fqdn(request_.options);
  if (!asked || is_given_raw(Option::ClientFqdn)) return;
  const bool in_wire_format = asked->has(ClientFqdn::kWireFormat);
  std::uint8_t flags = ClientFqdn::kNoUpdates;
  if (in_wire_format) flags |= ClientFqdn::kWireFormat;
  if (asked->has(ClientFqdn::kServerUpdates)) flags |= ClientFqdn::kOverridden;
  Bytes value{std::byte{flags}, std::byte{255}, std::byte{255}};  // section 2.2: both RCODEs are 255
  if (!hostname.empty())
    append(value, qualified(hostname, in_wire_format));
  else if (!asked->text().empty())
    append(value, asked->name);
  builder_.add(Option::ClientFqdn, ByteView{value});
}

void add_configuration(OptionWriter& writer, const ReplyPlan& plan, const Boot* boot) {
  writer.add_network();
  writer.add_boot(boot);
  writer.add_names(plan.hostname);
  writer.add_raw();
  if (plan.lease_time.count() > 0) writer.add_fqdn(plan.hostname);
}

// What DHCP has and BOOTP has not.
void add_protocol(MessageBuilder& builder, const NetworkSettings& settings, const Message& request,
                  const ReplyPlan& plan) {
  const ByteView client_id = echoed(request, Option::ClientId);
  builder.add(Option::MessageType, *plan.type);
  builder.add(Option::ServerId, settings.gateway.address);
  if (!client_id.empty()) builder.add(Option::ClientId, client_id);  // RFC 6842 section 3: in every reply
  if (plan.rapid_commit) builder.add(Option::RapidCommit, ByteView{});
}

// For a client whose vendor field is not RFC 1497's: it goes back empty, with the client's own cookie.
Bytes without_options(const MessageHeader& header) {
  Bytes bytes(MessageBuilder::kMinSize);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

Bytes reply_message(const NetworkSettings& settings, const Message& request, const ReplyPlan& plan,
                    Counters& counters) {
  const Boot* boot = boot_for(settings, request.options);
  const MessageHeader header = reply_header(request, plan, boot);
  if (!request.has_cookie()) return without_options(header);
  const ByteView relay_agent = echoed(request, Option::RelayAgent);
  const std::size_t for_relay = relay_agent.empty() ? 0 : encoded_size(relay_agent);
  // A BOOTP client's 64 bytes are its own: the relay takes its option off.
  MessageBuilder builder{
      header, plan.type ? message_limit(request, settings.mtu) : MessageBuilder::kMinSize + for_relay};
  builder.hold_back(for_relay);

  if (plan.type) add_protocol(builder, settings, request, plan);
  if (plan.type == MessageType::Nak) {
    builder.add(Option::ErrorText, plan.error);
  } else {
    OptionWriter writer{settings, request, builder};
    if (plan.lease_time.count() > 0) writer.add_lease_times(plan.lease_time);
    builder.add(Option::SubnetMask, settings.gateway.mask());
    add_configuration(writer, plan, boot);
  }
  builder.hold_back(0);
  // RFC 3046 section 2.2: the relay's option is echoed, and is the last one.
  if (!relay_agent.empty()) builder.add(Option::RelayAgent, relay_agent);
  counters.options_left_out += builder.left_out();
  return builder.finished();
}

}  // namespace

Frame build_reply(const NetworkSettings& settings, const Message& request, const Datagram& datagram,
                  const ReplyPlan& plan, Counters& counters) {
  const Bytes message = reply_message(settings, request, plan, counters);
  // Whatever else stands in ciaddr, as in a DISCOVER against table 5, nobody listens there.
  MessageHeader asked = request.header;
  asked.ciaddr = plan.in_use;
  const ReplyTarget target = reply_target(asked, datagram.source_mac, plan.type, plan.yiaddr);
  return framed({.source_mac = settings.gateway_mac,
                 .destination_mac = target.mac,
                 .source = {settings.gateway.address, kServerPort},
                 .destination = target.endpoint,
                 .payload = message});
}

Bytes encoded_routes(std::span<const Route> routes, std::optional<net::Ipv4Addr> router) {
  Bytes bytes;
  const auto add = [&](net::Ipv4Prefix to, net::Ipv4Addr via) {
    const net::Ipv4Addr first = to.first();
    bytes.push_back(std::byte{to.length});
    append(bytes, std::as_bytes(std::span{&first, 1}).first((to.length + 7u) / 8u));
    append(bytes, std::as_bytes(std::span{&via, 1}));
  };
  for (const Route& route : routes) add(route.to, route.via);
  if (router) add({.address = {}, .length = 0}, *router);
  return bytes;
}

Bytes encoded_names(std::span<const std::string> names) {
  Bytes bytes;
  for (std::string_view name : names) {
    while (!name.empty()) {
      const std::string_view label = name.substr(0, name.find('.'));
      name.remove_prefix(std::min(name.size(), label.size() + 1));
      if (label.empty() || label.size() > kMaxLabel) continue;
      bytes.push_back(static_cast<std::byte>(label.size()));
      append(bytes, bytes_of(label));
    }
    bytes.push_back(std::byte{0});
  }
  return bytes;
}

}  // namespace vmnat::dhcp
