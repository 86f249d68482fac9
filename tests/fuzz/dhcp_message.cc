// SPDX-License-Identifier: Apache-2.0
// The DHCP codec under any bytes: frame, message and journal. Whatever is read must lie within the input,
// and a reply built from what was read must be a valid message within the client's limit.
#include <array>
#include <cctype>

#include "dhcp/client_name.h"
#include "dhcp/journal.h"
#include "dhcp/reply.h"
#include "tests/dhcp/request_frame.h"
#include "tests/fuzz/driver.h"

namespace {

using namespace vmnat::dhcp;

void check_getters(const OptionSet& options) {
  for (unsigned code = 0; code <= 255; ++code) {
    const auto option = static_cast<Option>(code);
    const bool present = options.has(option);
    if (!present && !options.bytes(option).empty()) vmnat::fuzz::fault("an absent option has a value");
    if (present && !is_well_formed(option_type(option), options.bytes(option).size()))
      vmnat::fuzz::fault("a malformed option is present");
    if (options.names(option) && !options.asks_for(option)) vmnat::fuzz::fault("named, and not asked for");
  }
}

void check_reply(const Message& request, const Datagram& datagram) {
  static const NetworkSettings kSettings = [] {
    NetworkSettings settings = test::default_network();
    settings.search = {"lab.example"};
    settings.routes = {{.to = {test::ip("10.0.0.0"), 8}, .via = test::ip("192.168.122.5")}};
    settings.boot = {
        {.for_ipxe = true, .server = test::ip("192.168.122.1"), .file = std::string(200, 'i')},
        {.architecture = 7, .server = test::ip("192.168.122.1"), .file = "http://192.168.122.1/b"},
        {.server = test::ip("192.168.122.1"), .file = "pxelinux.0"}};
    return settings;
  }();
  Counters counters;
  for (const MessageType type : {MessageType::Offer, MessageType::Ack, MessageType::Nak}) {
    const ReplyPlan plan{
        .type = type, .yiaddr = test::ip("192.168.122.9"), .lease_time = std::chrono::hours{1}};
    const Frame frame = build_reply(kSettings, request, datagram, plan, counters);
    const auto parsed = parse_frame(frame);
    if (!std::holds_alternative<Datagram>(parsed)) vmnat::fuzz::fault("a reply that is no datagram");
    const ByteView payload = std::get<Datagram>(parsed).payload;
    const auto reply = parse_message(payload);
    if (!reply || reply->type() != type || !reply->options.has(Option::ServerId))
      vmnat::fuzz::fault("a reply without type or server");
    if (payload.size() > message_limit(request, kSettings.mtu) || payload.size() < MessageBuilder::kMinSize)
      vmnat::fuzz::fault("a reply of the wrong size");
    if (reply->options.has(Option::Overload)) vmnat::fuzz::fault("a reply that is overloaded");
  }
  const Frame bootp =
      build_reply(kSettings, request, datagram, {.type = {}, .yiaddr = test::ip("192.168.122.9")}, counters);
  const auto parsed = parse_frame(bootp);
  const auto reply = parse_request(std::get<Datagram>(parsed).payload);
  if (!reply || !reply->is_bootp()) vmnat::fuzz::fault("a BOOTREPLY that is none");
}

void check_name(const OptionSet& options) {
  const std::string name = client_name(options);
  const auto is_allowed = [](char c) {
    return (std::isalnum(static_cast<unsigned char>(c)) != 0) || c == '-' || c == '_' || c == '.';
  };
  if (name.size() > 253 || !std::ranges::all_of(name, is_allowed)) vmnat::fuzz::fault("a name that is none");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const ByteView input = std::as_bytes(std::span{bytes, size});
  Frame frame{input.begin(), input.end()};
  test::without_udp_checksum(frame);
  const auto parsed = parse_frame(frame);
  if (const auto* datagram = std::get_if<Datagram>(&parsed)) {
    if (const auto message = parse_message(datagram->payload)) {
      check_getters(message->options);
      check_reply(*message, *datagram);
    }
  }
  // The same bytes as a message without a frame around, which damage does not keep from being read.
  const Datagram bare{
      .source = {{}, kClientPort}, .destination = {kBroadcastAddress, kServerPort}, .payload = input};
  if (const auto message = parse_request(input)) {
    check_getters(message->options);
    check_name(message->options);
    if (message->has_cookie()) check_reply(*message, bare);
  }
  const JournalContent content = read_journal(input);
  if (content.leases.size() > content.records) vmnat::fuzz::fault("more leases than records");
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  using test::hex;
  std::vector<std::vector<std::uint8_t>> seeds;
  const auto add = [&](const Bytes& bytes) {
    std::vector<std::uint8_t> seed;
    for (const std::byte byte : bytes) seed.push_back(static_cast<std::uint8_t>(byte));
    seeds.push_back(std::move(seed));
  };
  auto full = test::request_of(MessageType::Discover, test::mac_number(1), 1)
                  .asking_for({1, 3, 6, 12, 15, 26, 28, 42, 66, 67, 81, 119, 121, 249})
                  .with(Option::MaxMessageSize, hex("05dc"))
                  .with(Option::ClientId, hex("01525400000001"))
                  .with(Option::ClientFqdn, hex("05000003766d31"))
                  .with(Option::ClientArch, hex("0007"))
                  .with(Option::RelayAgent, hex("0104766d312d"))
                  .with(Option::HostName, "vm1");
  add(full.frame());
  add(full.payload());
  auto ipxe = full;
  ipxe.with(Option::UserClass, hex("04695058450369505845"))
      .with(Option::VendorClass, "HTTPClient:Arch:00016");
  add(ipxe.payload());
  auto bootp = full;
  bootp.options.erase(bootp.options.begin());
  add(bootp.payload());
  add(full.with(Option::Overload, hex("03")).with(Option::ClientId, Bytes(600)).payload());
  Bytes journal = journal_header();
  const std::array leases = {
      Lease{.address = test::ip("192.168.122.9"), .port = "vm1", .state = LeaseState::Bound}};
  const Bytes records = journal_records(leases);
  journal.insert(journal.end(), records.begin(), records.end());
  add(journal);
  return seeds;
}
