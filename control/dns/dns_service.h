// SPDX-License-Identifier: Apache-2.0
// DnsService: the DNS of all networks that the gateway serves with it, and where it is not to be had, who says so.
//
// A network is served where the host is on it, and either the file has a `dns` section or VMs are told the gateway as
// their resolver. Names of leases follow within a second; writing them takes a twentieth of control's time at most.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/config/model.h"
#include "control/dhcp/dhcp_service.h"
#include "control/dns/dns_server.h"

namespace vmnat::control {

class DnsService {
 public:
  // Files lie beside the control socket.
  DnsService(boost::asio::io_context& io, const std::string& control_socket);

  // Whether there is the program at all. Without it nothing is served.
  [[nodiscard]] bool is_installed() const { return is_installed_; }
  // Networks have come, left or changed.
  void follow_configuration(const config::Config& config);
  // Leases may have changed.
  void advance(const config::Config& config, const DhcpService& dhcp, SteadyTime now);
  [[nodiscard]] std::vector<std::string> notes(const config::Config& config) const;
  // Networks whose server does not run.
  [[nodiscard]] std::vector<std::string> unserved() const;

 private:
  boost::asio::io_context& io_;
  std::string directory_;
  bool is_installed_;
  std::map<std::string, DnsServer> servers_;  // by network
  std::uint64_t known_changes_ = 0;           // of leases
  bool is_stale_ = true;
  SteadyTime next_{};
};

// What is to be said where a network is to be served, and the program is not there; else empty.
std::string missing_dns_program(const config::Config& config);

// The directory for files of a server that runs as another user: beside the control socket, or where nobody else may
// pass to there, next to the socket's directory.
std::string dns_directory(const std::string& control_socket);

}  // namespace vmnat::control
