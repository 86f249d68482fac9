// SPDX-License-Identifier: Apache-2.0
// The commands and their options (CLI11). Values are checked here too, so that a typo costs no round trip.
#include "control/ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>

#include "control/admin/commands.h"
#include "control/admin/session_filter.h"
#include "control/config/values.h"
#include "control/ctl/change_options.h"
#include "control/ctl/observe_options.h"

namespace vmnat::ctl {
namespace {

// Options of `sessions` and `flush`, as text; those given become arguments.
struct FilterOptions {
  std::map<std::string, std::string> texts;
  std::uint64_t limit = 0;
  bool count = false;
  bool watch = false;
  bool all = false;
};

std::string checked_protocol(const std::string& text) {
  return net::parse_protocol(text) ? "" : "'" + text + "' is not tcp, udp, icmp or a number up to 255";
}
std::string checked_endpoint(const std::string& text) {
  return admin::parse_endpoint_filter(text) ? "" : "'" + text + "' is not an address or address:port";
}
std::string checked_memory(const std::string& text) {
  return text == "none" || config::byte_size(text) ? "" : "'" + text + "' is not a size (512M, 1G) or none";
}

void add_filters(CLI::App& command, FilterOptions& options) {
  const auto add = [&](const std::string& name, const std::string& description) {
    return command.add_option("--" + name, options.texts[name], description);
  };
  add("network", "only of this network");
  add("port", "only of this VM port");
  add("protocol", "only this protocol: tcp, udp, icmp or its number")->check(checked_protocol);
  add("internal", "only with this internal address (A.B.C.D or A.B.C.D:port)")->check(checked_endpoint);
  add("external", "only with this external address")->check(checked_endpoint);
  add("remote", "only with this remote address")->check(checked_endpoint);
  add("state", "only in this state");
}

nlohmann::json arguments_of(const CLI::App& command, const FilterOptions& options) {
  nlohmann::json arguments = nlohmann::json::object();
  for (const auto& [name, text] : options.texts)
    if (command.count("--" + name) > 0) arguments[name] = text;
  if (options.limit > 0) arguments["limit"] = options.limit;
  if (options.count) arguments["count"] = true;
  if (options.watch) arguments["watch"] = true;
  if (options.all) arguments["all"] = true;
  return arguments;
}

void add_sessions(CLI::App& app, FilterOptions& options, CommandLine& line) {
  CLI::App* sessions = add_command(app, "sessions");
  add_filters(*sessions, options);
  sessions->add_option("--limit", options.limit, "at most this many")->check(CLI::PositiveNumber);
  CLI::Option* count = sessions->add_flag("--count", options.count, "only how many there are");
  const std::map<std::string, SessionFormat> formats{{"table", SessionFormat::Table},
                                                     {"json", SessionFormat::Json},
                                                     {"conntrack", SessionFormat::Conntrack}};
  sessions->add_option("--format", line.format, "table, json, or conntrack (as conntrack -L)")
      ->option_text("FORMAT")
      ->transform(CLI::Transformer(formats).description(""))
      ->excludes(count);
  sessions
      ->add_flag("--watch", options.watch,
                 "what becomes of them, as it happens: as conntrack -E, or as lines of JSON")
      ->excludes(count);
}

void add_flush(CLI::App& app, FilterOptions& options) {
  CLI::App* flush = add_command(app, "flush");
  add_filters(*flush, options);
  flush->add_flag("--all", options.all, "every session");
}

void add_recipes(CLI::App& app, CommandLine& line) {
  CLI::App* qemu = app.add_subcommand("qemu-args", "arguments for QEMU that put a VM on a port");
  CLI::App* libvirt = app.add_subcommand("libvirt-xml", "XML for libvirt that puts a VM on a port");
  qemu->add_option("--memory", line.memory, "size of the guest's memory, or none: set up elsewhere")
      ->capture_default_str()
      ->check(checked_memory);
  for (CLI::App* command : {qemu, libvirt}) {
    command->add_option("PORT", line.port, "the port's name")->required();
    command
        ->add_option("--mac", line.mac, "MAC address (default: the one last seen, or one made from the name)")
        ->check(checked_mac);
  }
}

void add_import(CLI::App& app, CommandLine& line) {
  app.add_subcommand("import-libvirt",
                     "a configuration that does what a network of libvirt's does; asks no daemon")
      ->add_option("FILE", line.file, "XML as `virsh net-dumpxml` prints it; -: standard input")
      ->required();
}

void add_rules(CLI::App& app, FilterOptions& options) {
  CLI::App* rules = add_command(app, "rules");
  rules->add_option("--network", options.texts["network"], "only of this network and its ports");
  rules->add_option("--port", options.texts["port"], "only of this VM port and its network");
}

void add_doctor(CLI::App& app, CommandLine& line) {
  CLI::App* doctor = add_command(app, "doctor");
  doctor->add_option("--config", line.config, "the configuration file to look at where no vmnatd answers")
      ->capture_default_str();
  doctor->add_flag("--offline", line.is_offline, "ask no vmnatd: look at the host and the file alone");
}

void add_top(CLI::App& app, TopOptions& options) {
  CLI::App* top = app.add_subcommand("top", "who sends and receives how much right now, by VM and by remote");
  top->add_option("--interval", options.interval, "seconds between two rounds")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  top->add_option("--count", options.rounds, "end after so many rounds")->check(CLI::PositiveNumber);
  top->add_option("--rows", options.rows, "at most so many VMs, and remotes")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  top->add_option("--sessions", options.most_sessions,
                  "leave out remotes while there are more sessions; each round reads them all")
      ->capture_default_str();
}

std::string checked_tenure(const std::string& text) {
  return parse_tenure_query(text) ? "" : "'" + text + "' is not an external address:port";
}
std::string checked_time(const std::string& text) {
  return log_time(text)
             ? ""
             : "'" + text + "' is not a time (write 2026-01-01T12:00:00Z, or @ and seconds since 1970)";
}

struct WhoTexts {
  std::string endpoint, at;
};
void add_who(CLI::App& app, WhoTexts& texts, CommandLine& line) {
  CLI::App* who =
      app.add_subcommand("who", "which VM had an external port, as the log of translations tells");
  who->add_option("ADDRESS:PORT", texts.endpoint,
                  "the external endpoint; of ICMP the identifier stands for the port")
      ->required()
      ->check(checked_tenure);
  who->add_option("--at", texts.at, "when; default: now")->check(checked_time);
  who->add_option("--protocol", line.who.query.protocol, "only this protocol: tcp, udp, icmp or its number")
      ->check(checked_protocol);
  who->add_option("--remote", line.who.query.remote, "only towards this remote endpoint");
  who->add_option("--file", line.who.file, "the log; default: the one that the daemon writes");
}

void take_who(const CLI::App& chosen, const WhoTexts& texts, CommandLine& line) {
  if (chosen.get_name() != "who") return;
  const auto query = parse_tenure_query(texts.endpoint);
  line.who.query.address = query->address;
  line.who.query.port = query->port;
  if (!texts.at.empty()) line.who.at = *log_time(texts.at);
}

// `lease release`, `reserve add` and `reserve del`: a word and a verb, one command for the daemon.
struct DhcpOptions {
  std::string address;
  std::map<std::string, std::string> texts;
};

void add_dhcp(CLI::App& app, DhcpOptions& options) {
  const auto verb = [&](CLI::App& noun, const std::string& name) {
    CLI::App* command = add_command(noun, name, noun.get_name() + "-" + name);
    command->add_option("ADDRESS", options.address, "a VM's address")->required()->check(checked_address);
    return command;
  };
  CLI::App* lease = app.add_subcommand("lease", "leases, changed by hand: release");
  CLI::App* reserve = app.add_subcommand("reserve", "reservations, changed by hand: add, del");
  for (CLI::App* noun : {lease, reserve}) noun->require_subcommand(1);
  verb(*lease, "release");
  CLI::App* add = verb(*reserve, "add");
  CLI::Option* mac =
      add->add_option("--mac", options.texts["mac"], "for this MAC address")->check(checked_mac);
  add->add_option("--port", options.texts["port"], "for whoever is on this VM port")->excludes(mac);
  add->add_option("--hostname", options.texts["hostname"], "told to the VM by DHCP");
  verb(*reserve, "del");
}

// "lease release" is the daemon's command lease-release.
void take_dhcp(const CLI::App& chosen, const DhcpOptions& options, CommandLine& line) {
  if (line.command != "lease" && line.command != "reserve") return;
  line.command += "-" + chosen.get_subcommands().front()->get_name();
  line.arguments["address"] = options.address;
  for (const auto& [name, text] : options.texts)
    if (!text.empty()) line.arguments[name] = text;
}

void add_plain(CLI::App& app) {
  for (const admin::Command& command : admin::kCommands)
    if (command.arguments == admin::Arguments::None) add_command(app, command.name);
}

// What CLI11 cannot check by itself; the sentence, or nothing.
std::string contradiction(const CommandLine& line) {
  if (line.command == "reserve-add" && !line.arguments.contains("mac") && !line.arguments.contains("port"))
    return "reserve add: give --mac or --port, whom the address is for";
  if (line.command != "flush" || !line.arguments.empty()) return "";
  return "flush: give a filter, or --all to end every session";
}

}  // namespace

std::variant<CommandLine, Exit> parse_command_line(const std::vector<std::string>& arguments,
                                                   std::ostream& out, std::ostream& err) {
  CommandLine line;
  FilterOptions filters, flush_filters, rule_filters;
  CLI::App app{"Asks a running vmnatd, the userspace NAT gateway for virtual machines.", "vmnatctl"};
  app.add_option("--socket", line.socket, "the daemon's admin socket")->capture_default_str();
  app.add_flag("--json", line.json, "print a single JSON document");
  app.require_subcommand(0, 1);  // an unknown command is then named, not taken for a missing one
  app.fallthrough();
  add_plain(app);
  add_sessions(app, filters, line);
  add_flush(app, flush_filters);
  add_rules(app, rule_filters);
  add_recipes(app, line);
  add_import(app, line);
  add_top(app, line.top);
  WhoTexts who;
  add_who(app, who, line);
  add_doctor(app, line);
  DhcpOptions dhcp_options;
  add_dhcp(app, dhcp_options);
  ChangeOptions changes;
  changes.add_to(app);
  ObserveOptions observe;
  observe.add_to(app);

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 takes them
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? Exit::Ok : Exit::Usage;
  }
  if (app.get_subcommands().empty()) {
    err << "vmnatctl: a command is required; --help lists them\n";
    return Exit::Usage;
  }
  const CLI::App& chosen = *app.get_subcommands().front();
  line.command = chosen.get_name();
  if (line.command == "sessions") line.arguments = arguments_of(chosen, filters);
  if (line.command == "flush") line.arguments = arguments_of(chosen, flush_filters);
  if (line.command == "rules") line.arguments = arguments_of(chosen, rule_filters);
  take_who(chosen, who, line);
  take_dhcp(chosen, dhcp_options, line);
  std::string wrong = changes.take(chosen, line);
  if (wrong.empty()) wrong = observe.take(chosen, line);
  if (line.format == SessionFormat::Json) line.json = true;
  if (wrong.empty()) wrong = contradiction(line);
  if (!wrong.empty()) {
    err << wrong << '\n';
    return Exit::Usage;
  }
  return line;
}

}  // namespace vmnat::ctl
