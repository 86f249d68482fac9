// SPDX-License-Identifier: Apache-2.0
#include "control/commands/dhcp_commands.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "control/config/values.h"
#include "control/system/rfc3339.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

std::string hex(const dhcp::Bytes& bytes) {
  std::string text;
  for (const std::byte byte : bytes)
    text += fmt::format("{}{:02x}", text.empty() ? "" : ":", static_cast<unsigned>(byte));
  return text;
}

Json lease_json(const DhcpService& dhcp, const std::string& network, const dhcp::Lease& lease) {
  const bool ends = lease.state != dhcp::LeaseState::Reserved && lease.expires != dhcp::kNever;
  return {{"network", network},
          {"address", net::to_string(lease.address)},
          {"mac", lease.mac.is_zero() ? Json() : Json(net::to_string(lease.mac))},
          {"hostname", text_or_null(lease.hostname)},
          {"client_id", text_or_null(hex(lease.client_id))},
          {"port", text_or_null(lease.port)},
          {"expires", ends ? Json(rfc3339(lease.expires)) : Json()},
          {"state", dhcp::to_string(lease.state)},
          {"reservation", text_or_null(std::string{dhcp.reservation_of(network, lease.address)})}};
}

// An argument's value; an Error when it is missing or cannot be read.
template <typename Parse>
auto argument(const Json& arguments, const char* name, Parse parse)
    -> Result<typename decltype(parse(std::string_view{}))::value_type> {
  const auto found = arguments.find(name);
  if (found == arguments.end() || !found->is_string())
    return tl::unexpected(Error{name, "is missing, or not a text"});
  auto value = parse(found->template get<std::string>());
  if (!value) return tl::unexpected(Error{name, value.error()});
  return *std::move(value);
}

Result<dhcp::Reservation> reservation_in(const Json& arguments) {
  dhcp::Reservation reservation;
  const auto address = argument(arguments, "address", config::host_address);
  if (!address) return tl::unexpected(address.error());
  reservation.address = *address;
  if (arguments.contains("mac") == arguments.contains("port"))
    return tl::unexpected(Error{"", "a reservation is for exactly one of mac and port"});
  if (arguments.contains("mac")) {
    const auto mac = argument(arguments, "mac", config::unicast_mac);
    if (!mac) return tl::unexpected(mac.error());
    reservation.mac = *mac;
  } else {
    const auto port = argument(arguments, "port", config::identifier);
    if (!port) return tl::unexpected(port.error());
    reservation.port = *port;
  }
  if (!arguments.contains("hostname")) return reservation;
  const auto hostname = argument(arguments, "hostname", config::host_name);
  if (!hostname) return tl::unexpected(hostname.error());
  reservation.hostname = *hostname;
  return reservation;
}

}  // namespace

Answer list_leases(const DhcpService& dhcp) {
  Json list = Json::array();
  for (const auto& [network, leases] : dhcp.leases())
    for (const dhcp::Lease& lease : leases) list.push_back(lease_json(dhcp, network, lease));
  return Answer::list_of(std::move(list));
}

Result<Answer> release_lease(DhcpService& dhcp, const Json& arguments) {
  const auto address = argument(arguments, "address", config::host_address);
  if (!address) return tl::unexpected(address.error());
  const auto released = dhcp.release(*address);
  if (!released) return tl::unexpected(released.error());
  return Answer::object({{"address", net::to_string(*address)},
                         {"mac", net::to_string(released->mac)},
                         {"port", text_or_null(released->port)}});
}

Result<Answer> add_reservation(DhcpService& dhcp, const Json& arguments) {
  const auto reservation = reservation_in(arguments);
  if (!reservation) return tl::unexpected(reservation.error());
  const auto network = dhcp.reserve(*reservation);
  if (!network) return tl::unexpected(network.error());
  return Answer::object({{"network", *network},
                         {"address", net::to_string(reservation->address)},
                         {"mac", reservation->mac ? Json(net::to_string(*reservation->mac)) : Json()},
                         {"port", text_or_null(reservation->port)},
                         {"hostname", text_or_null(reservation->hostname)}});
}

Result<Answer> delete_reservation(DhcpService& dhcp, const Json& arguments) {
  const auto address = argument(arguments, "address", config::host_address);
  if (!address) return tl::unexpected(address.error());
  const auto network = dhcp.unreserve(*address);
  if (!network) return tl::unexpected(network.error());
  return Answer::object({{"network", *network}, {"address", net::to_string(*address)}});
}

}  // namespace vmnat::control
