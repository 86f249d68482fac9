// SPDX-License-Identifier: Apache-2.0
// What the operator asked for: vmnatctl's arguments, checked, as one plain structure.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "control/ctl/tenures.h"
#include "control/ctl/top.h"

namespace vmnat::ctl {

// Exit codes of vmnatctl.
enum class Exit { Ok = 0, DaemonError = 1, Usage = 2, CannotConnect = 3 };

enum class SessionFormat { Table, Json, Conntrack };

struct WhoOptions {
  TenureQuery query;
  std::string at;    // the log's form of a time; empty: now
  std::string file;  // empty: the daemon's
};

struct CommandLine {
  std::string socket = "/run/vmnat/vmnat.sock";
  bool json = false;
  std::string command;
  nlohmann::json arguments = nlohmann::json::object();  // as sent to the daemon
  SessionFormat format = SessionFormat::Table;
  std::string port, mac, memory = "1G";          // of qemu-args and libvirt-xml
  std::string file;                              // of import-libvirt
  std::string write;                             // of capture
  std::string config = "/etc/vmnat/vmnat.yaml";  // of doctor, where no vmnatd answers
  bool is_offline = false;                       // of doctor: none is asked
  TopOptions top;
  WhoOptions who;
};

// The CommandLine, or the exit code when there is nothing to do: help was printed to `out`, or what is wrong
// to `err`.
std::variant<CommandLine, Exit> parse_command_line(const std::vector<std::string>& arguments,
                                                   std::ostream& out, std::ostream& err);

}  // namespace vmnat::ctl
