// SPDX-License-Identifier: Apache-2.0
// Two million lines a second are the aim at most, so nothing here allocates, and formats are compiled.
#include "control/translations/line.h"

#include <fmt/chrono.h>
#include <fmt/compile.h>

#include "conntrack/policy.h"

namespace vmnat::control {
namespace {

using std::back_inserter;

void append(std::string_view text, Buffer& to) {
  to.append(text.data(), text.data() + text.size());
}

void append_address(net::Ipv4Addr address, Buffer& to) {
  const std::uint32_t host = address.host();
  fmt::format_to(back_inserter(to), FMT_COMPILE("{}.{}.{}.{}"), host >> 24, host >> 16 & 0xff,
                 host >> 8 & 0xff, host & 0xff);
}

// Of protocols without ports the address alone.
void append_endpoint(std::string_view key, net::Endpoint endpoint, bool has_port, Buffer& to) {
  append(key, to);
  append_address(endpoint.address, to);
  if (has_port) fmt::format_to(back_inserter(to), FMT_COMPILE(":{}"), endpoint.port.host());
  to.push_back('"');
}

void append_mac(net::MacAddr mac, Buffer& to) {
  const auto& b = mac.bytes;
  fmt::format_to(back_inserter(to), FMT_COMPILE(R"(,"mac":"{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}")"),
                 b[0], b[1], b[2], b[3], b[4], b[5]);
}

void append_protocol(net::Protocol protocol, Buffer& to) {
  const std::string_view name = net::name_of(protocol);
  append(R"(,"protocol":")", to);
  if (name.empty())
    fmt::format_to(back_inserter(to), FMT_COMPILE("{}"), static_cast<unsigned>(protocol));
  else
    append(name, to);
  to.push_back('"');
}

void append_session(const Translation& translation, Buffer& to) {
  const conntrack::SessionView& session = translation.session;
  const bool has_ports = conntrack::port_space(session.protocol) != conntrack::PortSpace::None;
  append_protocol(session.protocol, to);
  append_endpoint(R"(,"internal":")", session.internal, has_ports, to);
  append_endpoint(R"(,"external":")", session.external, has_ports, to);
  // An ICMP query's remote has the identifier for a port, as in `sessions`.
  net::Endpoint remote = session.remote;
  if (session.protocol == net::Protocol::Icmp) remote.port = session.external.port;
  append_endpoint(R"(,"remote":")", remote, has_ports, to);
  if (translation.event != TranslationEvent::Ended) return;
  fmt::format_to(back_inserter(to),
                 FMT_COMPILE(R"(,"packets_out":{},"packets_in":{},"bytes_out":{},"bytes_in":{})"),
                 session.packets_out, session.packets_in, session.bytes_out, session.bytes_in);
}

void append_block(const Translation& translation, Buffer& to) {
  const conntrack::SessionView& session = translation.session;
  const unsigned first = session.external.port.host();
  append_endpoint(R"(,"internal":")", session.internal, false, to);
  append_endpoint(R"(,"external":")", session.external, false, to);
  fmt::format_to(back_inserter(to), FMT_COMPILE(R"(,"first_port":{},"last_port":{})"), first,
                 first + translation.block_ports - 1);
}

void append_subject(const Translation& translation, Buffer& to) {
  append(R"(,"network":)", to);
  append(translation.network, to);
  append(R"(,"port":)", to);
  append(translation.port, to);
  if (!translation.mac.is_zero()) append_mac(translation.mac, to);
  translation.block_ports == 0 ? append_session(translation, to) : append_block(translation, to);
}

void append_lost(const Translation& translation, Buffer& to) {
  fmt::format_to(back_inserter(to), FMT_COMPILE(R"(,"events":{})"), translation.lost);
}

}  // namespace

void append_time(Translation::WallTime time, Buffer& to) {
  thread_local std::time_t formatted = 0;
  thread_local Buffer text;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::floor<std::chrono::milliseconds>(time - seconds);
  if (const std::time_t second = std::chrono::system_clock::to_time_t(seconds); second != formatted) {
    text.clear();
    fmt::format_to(back_inserter(text), "{:%Y-%m-%dT%H:%M:%S}", fmt::gmtime(second));
    formatted = second;
  }
  to.append(text.begin(), text.end());
  fmt::format_to(back_inserter(to), FMT_COMPILE(".{:03}Z"), rest.count());
}

void append_json(const Translation& translation, Buffer& to) {
  append(R"({"time":")", to);
  append_time(translation.time, to);
  append(R"(","event":")", to);
  append(to_string(translation.event), to);
  to.push_back('"');
  switch (translation.event) {
    case TranslationEvent::Started:
    case TranslationEvent::Stopped:
      break;
    case TranslationEvent::Lost:
      append_lost(translation, to);
      break;
    default:
      append_subject(translation, to);
  }
  to.push_back('}');
}

}  // namespace vmnat::control
