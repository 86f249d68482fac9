// SPDX-License-Identifier: Apache-2.0
// Arguments to filter, one row per argument.
#include "control/admin/session_filter.h"

#include <charconv>
#include <nlohmann/json.hpp>

namespace vmnat::admin {
namespace {

using Json = nlohmann::json;
using Problem = std::optional<std::string>;  // nothing: all is well

std::optional<unsigned> whole_number(std::string_view text, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value > most)
    return std::nullopt;
  return value;
}

Problem read(const Json& value, std::optional<std::string>& into) {
  const auto* name = value.get_ptr<const std::string*>();
  if (name == nullptr || name->empty()) return "must be a name";
  into = *name;
  return std::nullopt;
}
Problem read(const Json& value, std::optional<net::Protocol>& into) {
  into = value.is_string() ? net::parse_protocol(value.get_ref<const std::string&>()) : std::nullopt;
  return into ? std::nullopt : Problem{"must be tcp, udp, icmp or a number up to 255, not " + value.dump()};
}
Problem read(const Json& value, std::optional<EndpointFilter>& into) {
  into = value.is_string() ? parse_endpoint_filter(value.get_ref<const std::string&>()) : std::nullopt;
  return into ? std::nullopt : Problem{"must be an address or address:port, not " + value.dump()};
}
Problem read(const Json& value, std::uint64_t& into) {
  if (!value.is_number_integer() || value < 0) return "must be a whole number, not " + value.dump();
  into = value.get<std::uint64_t>();
  return std::nullopt;
}
Problem read(const Json& value, bool& into) {
  if (!value.is_boolean()) return "must be true or false, not " + value.dump();
  into = value.get<bool>();
  return std::nullopt;
}

Problem read_argument(const std::string& name, const Json& value, SessionFilter& into) {
  if (name == "network") return read(value, into.network);
  if (name == "port") return read(value, into.port);
  if (name == "state") return read(value, into.state);
  if (name == "protocol") return read(value, into.protocol);
  if (name == "internal") return read(value, into.internal);
  if (name == "external") return read(value, into.external);
  if (name == "remote") return read(value, into.remote);
  if (name == "limit") return read(value, into.limit);
  if (name == "count") return read(value, into.count);
  return "is not an argument of this command";
}

}  // namespace

std::optional<EndpointFilter> parse_endpoint_filter(std::string_view text) {
  const auto colon = text.find(':');
  const auto address = net::parse_ipv4(text.substr(0, colon));
  if (!address) return std::nullopt;
  if (colon == std::string_view::npos) return EndpointFilter{*address, std::nullopt};
  const auto port = whole_number(text.substr(colon + 1), 65535);
  if (!port) return std::nullopt;
  return EndpointFilter{*address, net::L4Port::from_host(static_cast<std::uint16_t>(*port))};
}

control::Result<SessionFilter> session_filter(const Json& arguments, std::string_view ignored) {
  SessionFilter filter;
  for (const auto& [name, value] : arguments.items()) {
    if (name == ignored) continue;
    if (const Problem problem = read_argument(name, value, filter))
      return tl::unexpected(control::Error{name, *problem});
  }
  return filter;
}

}  // namespace vmnat::admin
