// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/reservation_file.h"

#include <fstream>
#include <optional>
#include <sstream>

#include "control/system/whole_file.h"

namespace vmnat::control {
namespace {

constexpr std::string_view kNoName = "-";

std::optional<dhcp::Reservation> reservation_in(const std::string& line) {
  std::istringstream words(line);
  std::string address, kind, whose, hostname;
  if (!(words >> address >> kind >> whose >> hostname)) return std::nullopt;
  const auto parsed = net::parse_ipv4(address);
  if (!parsed) return std::nullopt;
  dhcp::Reservation reservation{.address = *parsed, .hostname = hostname == kNoName ? "" : hostname};
  if (kind == "port") {
    reservation.port = whose;
    return reservation;
  }
  const auto mac = net::parse_mac(whose);
  if (kind != "mac" || !mac) return std::nullopt;
  reservation.mac = *mac;
  return reservation;
}

}  // namespace

ReservationFile read_reservations(const std::string& path) {
  ReservationFile found;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (auto reservation = reservation_in(line))
      found.reservations.push_back(std::move(*reservation));
    else
      ++found.damaged_lines;
  }
  return found;
}

Result<void> write_reservations(const std::string& path, std::span<const dhcp::Reservation> reservations) {
  std::string text;
  for (const dhcp::Reservation& reservation : reservations) {
    text += net::to_string(reservation.address);
    text += reservation.mac ? " mac " + net::to_string(*reservation.mac) : " port " + reservation.port;
    text += ' ';
    text += reservation.hostname.empty() ? kNoName : std::string_view{reservation.hostname};
    text += '\n';
  }
  return replace_file(path, text, Writing::Durable);
}

}  // namespace vmnat::control
