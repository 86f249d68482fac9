// SPDX-License-Identifier: Apache-2.0
// One row a command of the admin socket: what both programs know of it.
//
// vmnatd binds a handler to each row: control/commands/commands.cc does not compile when one has none.
// vmnatctl makes its subcommands and its tables from the rows. README.md beside this file has the shapes of
// the answers; a test holds its table and the rows below equal.
//
// Example: {"workers", Kind::List, "the packet workers and their load", kWorkerColumns} is all that vmnatctl
// needs for `vmnatctl workers`.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>

#include "control/admin/server.h"

namespace vmnat::admin {

// How a cell reads. Plain: words without quotes, "-" for null, lists with commas.
enum class Cell {
  Plain,
  Percent,     // 0.123: "12.3 %"
  OneDecimal,  // 91.26: "91.3"
  Scaled,      // 4170000000: "4.17 G"
  Expiry,      // null: "never"
  Owned,       // what a port owns: the first addresses, "+3" for others
};

struct Column {
  std::string_view title;
  std::string_view key;  // of the element
  Cell cell = Cell::Plain;
};

// What stands behind the command's name on vmnatctl's command line. Own: options that command_line.cc adds.
enum class Arguments { None, Own };

struct Command {
  std::string_view name;
  Answer::Kind kind;  // `sessions` with `count` answers an object
  std::string_view help;
  std::span<const Column> columns = {};  // of a list
  Arguments arguments = Arguments::None;
  Access access = Access::Look;  // what it needs
};

inline constexpr Column kPortColumns[] = {
    {"NAME", "name"},     {"NETWORK", "network"}, {"KIND", "kind"},
    {"LINK", "link"},     {"MAC", "mac"},         {"ADDRESS", "address"},
    {"RX", "rx_packets"}, {"TX", "tx_packets"},   {"OWNS", "owns", Cell::Owned},
    {"DROPS", "drops"},   {"REFUSED", "refused"}};
inline constexpr Column kNetworkColumns[] = {
    {"NAME", "name"},       {"ADDRESS", "address"}, {"MAC", "mac"},       {"MTU", "mtu"},
    {"FORWARD", "forward"}, {"PORTS", "ports"},     {"LEASES", "leases"}, {"EXTERNAL", "external"}};
inline constexpr Column kLeaseColumns[] = {{"NETWORK", "network"},
                                           {"ADDRESS", "address"},
                                           {"MAC", "mac"},
                                           {"HOSTNAME", "hostname"},
                                           {"PORT", "port"},
                                           {"STATE", "state"},
                                           {"EXPIRES", "expires", Cell::Expiry},
                                           {"RESERVED", "reservation"}};
inline constexpr Column kSessionColumns[] = {
    {"NETWORK", "network"},      {"PORT", "port"},          {"PROTO", "protocol"},
    {"INTERNAL", "internal"},    {"EXTERNAL", "external"},  {"REMOTE", "remote"},
    {"STATE", "state"},          {"IDLE_S", "idle_s"},      {"EXPIRES_S", "expires_s"},
    {"PKTS_OUT", "packets_out"}, {"PKTS_IN", "packets_in"}, {"BYTES_OUT", "bytes_out"},
    {"BYTES_IN", "bytes_in"}};
inline constexpr Column kWorkerColumns[] = {{"WORKER", "worker"},
                                            {"CPU", "cpu"},
                                            {"BUSY", "busy_ratio", Cell::Percent},
                                            {"CYCLES/PKT", "cycles_per_packet", Cell::OneDecimal},
                                            {"PACKETS", "packets"},
                                            {"SESSIONS", "sessions"},
                                            {"HANDOFF", "handoff_ratio", Cell::Percent}};
inline constexpr Column kNeighborColumns[] = {
    {"ADDRESS", "address"}, {"MAC", "mac"}, {"NETWORK", "network"}, {"STATE", "state"}, {"AGE_S", "age_s"}};
inline constexpr Column kForwardColumns[] = {{"NETWORK", "network"},
                                             {"PROTO", "protocol"},
                                             {"EXTERNAL", "external"},
                                             {"INTERNAL", "internal"},
                                             {"FROM", "from"},
                                             {"PORT", "port"},
                                             {"MAC", "mac"}};
inline constexpr Column kRuleColumns[] = {
    {"NETWORK", "network"},   {"PORT", "port"},      {"RULE", "rule"},       {"DIR", "direction"},
    {"ACTION", "action"},     {"PROTO", "protocol"}, {"REMOTE", "remote"},   {"LPORT", "local_port"},
    {"RPORT", "remote_port"}, {"TYPE", "icmp_type"}, {"PACKETS", "packets"}, {"BYTES", "bytes"}};
inline constexpr Column kUplinkColumns[] = {
    {"NAME", "name"},       {"DEVICE", "device"},     {"STATE", "state"},
    {"ADDRESS", "address"}, {"GATEWAY", "gateway"},   {"NETWORKS", "networks"},
    {"PROBE", "probe"},     {"SWITCHES", "switches"}, {"WHY", "why"}};
inline constexpr Column kExhaustionColumns[] = {{"REMOTE", "remote"}, {"REFUSED", "refused"},
                                                {"EXCESS", "excess"}, {"NETWORK", "network"},
                                                {"PORT", "port"},     {"CAUSE", "cause"}};
inline constexpr Column kInvariantColumns[] = {{"WORKER", "worker"}, {"HOLDS", "holds"}, {"WHY", "why"}};

inline constexpr Column kDoctorColumns[] = {{"SEVERITY", "severity"}, {"FINDING", "id"},
                                            {"OBJECT", "object"},     {"SEEN", "seen"},
                                            {"MEANS", "means"},       {"MEND", "mend"}};

using Kind = Answer::Kind;

inline constexpr Command kCommands[] = {
    {"status", Kind::Object, "whether all is well, in a few lines"},
    {"ports", Kind::List, "the VMs' ports and the uplinks", kPortColumns},
    {"networks", Kind::List, "the networks", kNetworkColumns},
    {"uplinks", Kind::List, "the uplinks, and which networks are on them", kUplinkColumns},
    {"leases", Kind::List, "addresses given out by DHCP", kLeaseColumns},
    {"counters", Kind::Object, "every counter"},
    {"workers", Kind::List, "the packet workers and their load", kWorkerColumns},
    {"forwards", Kind::List, "external ports that lead to VMs", kForwardColumns},
    {"rules", Kind::List, "rules of networks and ports, and what they have decided", kRuleColumns,
     Arguments::Own},
    {"exhaustion", Kind::List, "remotes that sessions were refused towards for want of a port or by a limit",
     kExhaustionColumns},
    {"neighbors", Kind::List, "known addresses and their MAC addresses", kNeighborColumns},
    {"invariants", Kind::List, "debugging: have each worker count its tables through; it rests meanwhile",
     kInvariantColumns, Arguments::None, Access::Change},
    {"config", Kind::Object, "the configuration in effect, as YAML, and what of it is not from the file"},
    {"doctor", Kind::List, "what keeps VMs from their network, and the commands that mend it", kDoctorColumns,
     Arguments::Own},
    {"reload", Kind::Object, "read the configuration file again", {}, Arguments::Own, Access::Change},
    {"port-add", Kind::Object, "add a VM's port", {}, Arguments::Own, Access::Change},
    {"port-del", Kind::Object, "take a VM's port away", {}, Arguments::Own, Access::Change},
    {"network-add", Kind::Object, "add a network", {}, Arguments::Own, Access::Change},
    {"network-del", Kind::Object, "take a network away, with its ports", {}, Arguments::Own, Access::Change},
    {"forward-add", Kind::Object, "forward an external port to a VM", {}, Arguments::Own, Access::Change},
    {"forward-del", Kind::Object, "take a forward away", {}, Arguments::Own, Access::Change},
    {"pool-add",
     Kind::Object,
     "add an external address, or use one again that is drained",
     {},
     Arguments::Own,
     Access::Change},
    {"pool-drain",
     Kind::Object,
     "open no new sessions at an external address; those that it has run out",
     {},
     Arguments::Own,
     Access::Change},
    {"pool-del",
     Kind::Object,
     "take an external address away, with its sessions",
     {},
     Arguments::Own,
     Access::Change},
    {"sessions", Kind::List, "the sessions that the NAT remembers", kSessionColumns, Arguments::Own},
    {"flush",
     Kind::Object,
     "end sessions: those that the filters select",
     {},
     Arguments::Own,
     Access::Change},
    {"lease-release",
     Kind::Object,
     "end the lease of an address; the VM keeps it until it renews",
     {},
     Arguments::Own,
     Access::Change},
    {"reserve-add", Kind::Object, "reserve an address, for good", {}, Arguments::Own, Access::Change},
    {"reserve-del",
     Kind::Object,
     "take back what `reserve add` has reserved",
     {},
     Arguments::Own,
     Access::Change},
    {"capture",
     Kind::Stream,
     "write frames as a pcapng file, as they come, leave and are dropped",
     {},
     Arguments::Own,
     Access::Change},
    {"trace",
     Kind::Stream,
     "tell the way of the next frames, step by step",
     {},
     Arguments::Own,
     Access::Change},
};

static_assert(std::ranges::all_of(kCommands,
                                  [](const Command& command) {
                                    return (command.kind == Kind::List) == !command.columns.empty();
                                  }),
              "lists have columns, others have none");

// The row of a command; null: there is none.
constexpr const Command* find_command(std::string_view name) {
  const auto* const found = std::ranges::find(kCommands, name, &Command::name);
  return found == std::end(kCommands) ? nullptr : found;
}

}  // namespace vmnat::admin
