// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/change_options.h"

#include <algorithm>

#include "control/admin/commands.h"
#include "control/config/values.h"
#include "control/ctl/text_in.h"

namespace vmnat::ctl {
namespace {

// "192.168.122.10:80", or several with commas between.
std::string checked_servers(const std::string& text) {
  std::string_view left = text;
  do {
    const std::string_view one = left.substr(0, left.find(','));
    if (const auto endpoint = config::endpoint(one); !endpoint) return endpoint.error();
    left.remove_prefix(std::min(left.size(), one.size() + 1));
  } while (!left.empty());
  return "";
}

std::string checked_remotes(const std::string& text) {
  const auto block = config::address_block(text);
  return block ? "" : block.error();
}

std::string checked_forward_protocol(const std::string& text) {
  return text == "tcp" || text == "udp" ? "" : "'" + text + "' is not tcp or udp";
}

// "8080", "8000-8099" or "203.0.113.7:8080"
std::string checked_external(const std::string& text) {
  const auto colon = text.find(':');
  const bool is_address =
      colon == std::string::npos || config::host_address(text.substr(0, colon)).has_value();
  const std::string ports = colon == std::string::npos ? text : text.substr(colon + 1);
  return is_address && config::port_range(ports) ? "" : "'" + text + "' is not PORT or ADDRESS:PORT";
}

std::string checked_mode(const std::string& text) {
  const auto mode = config::word<config::VhostMode>(text);
  return mode ? "" : mode.error();
}

std::string checked_queues(const std::string& text) {
  const auto queues = config::number_within(text, 1, config::kMostQueues);
  return queues ? "" : queues.error();
}

std::string checked_vlan(const std::string& text) {
  const auto vlan = config::number_within(text, 1, config::kLastVlan);
  return vlan ? "" : vlan.error();
}

constexpr std::string_view kNouns[] = {"port", "network", "forward", "pool"};

}  // namespace

CLI::App* add_command(CLI::App& app, std::string_view name, std::string_view row) {
  const admin::Command* command = admin::find_command(row.empty() ? name : row);
  return app.add_subcommand(std::string{name}, std::string{command->help});
}

std::string checked_mac(const std::string& text) {
  const auto mac = config::unicast_mac(text);
  return mac ? "" : mac.error();
}

std::string checked_address(const std::string& text) {
  const auto address = config::host_address(text);
  return address ? "" : address.error();
}

CLI::App* ChangeOptions::verb(CLI::App& noun, const std::string& name) {
  CLI::App* command = add_command(noun, name, noun.get_name() + "-" + name);
  command->add_flag("--persistent", persistent_, "also after a restart of vmnatd");
  return command;
}

CLI::Option* ChangeOptions::positional(CLI::App& command, const std::string& shown,
                                       const std::string& argument, const std::string& says) {
  return command.add_option(shown, texts_[argument], says)->required();
}

CLI::Option* ChangeOptions::option(CLI::App& command, const std::string& name, const std::string& says) {
  std::string argument = name;
  std::ranges::replace(argument, '-', '_');
  return command.add_option("--" + name, texts_[argument], says);
}

void ChangeOptions::add_port(CLI::App& app) {
  CLI::App* port = app.add_subcommand("port", "VMs' ports, changed in a running daemon: add, del");
  port->require_subcommand(1);
  CLI::App* add = verb(*port, "add");
  positional(*add, "NAME", "name", "the port's name");
  option(*add, "network", "the network that it is on")->required();
  CLI::Option* socket = option(*add, "vhost-user", "path of the vhost-user socket");
  CLI::Option* device =
      option(*add, "device", "a kernel interface, PCI address or devargs instead")->excludes(socket);
  option(*add, "vlan", "which VLAN of the device the port is")->needs(device)->check(checked_vlan);
  option(*add, "mode", "client: QEMU listens on the socket; server: vmnatd does")
      ->needs(socket)
      ->check(checked_mode);
  option(*add, "queues", "queue pairs")->needs(socket)->check(checked_queues);
  option(*add, "mac", "the VM's MAC address: nobody else may send from it")->check(checked_mac);
  option(*add, "address", "the VM's address: DHCP gives it to the VM")->check(checked_address);
  option(*add, "migrates-from", "the port whose VM may come here by live migration")->needs(socket);
  option(*add, "group", "VMs of one group reach each other, and no others");
  option(*add, "limit", "what the VM gets and sends, as in the file: {in: {rate: 1G}, out: {rate: 100M}}");
  positional(*verb(*port, "del"), "NAME", "name", "the port's name");
}

void ChangeOptions::add_network(CLI::App& app) {
  CLI::App* network = app.add_subcommand("network", "networks, changed in a running daemon: add, del");
  network->require_subcommand(1);
  positional(*verb(*network, "add"), "FILE", "file",
             "YAML of one network, as an element of `networks`; -: standard input");
  positional(*verb(*network, "del"), "NAME", "name", "the network's name");
}

void ChangeOptions::add_forward(CLI::App& app) {
  CLI::App* forward = app.add_subcommand("forward", "port forwards, changed in a running daemon: add, del");
  forward->require_subcommand(1);
  CLI::App *add = verb(*forward, "add"), *del = verb(*forward, "del");
  for (CLI::App* command : {add, del}) {
    positional(*command, "PROTOCOL", "protocol", "tcp or udp")->check(checked_forward_protocol);
    positional(*command, "[ADDRESS:]PORT", "external",
               "the external port, or a-b; without address, of all addresses")
        ->check(checked_external);
    option(*command, "from", "remotes that it is for, an address or a prefix (default: any)")
        ->check(checked_remotes);
  }
  positional(*add, "TO", "to", "ADDRESS:PORT of the VM; several, with commas, share the remotes")
      ->check(checked_servers);
  option(*add, "network", "the VM's network (default: the one that TO is in)");
  option(*del, "network", "whose forward it is, if several networks have one");
}

void ChangeOptions::add_pool(CLI::App& app) {
  CLI::App* pool =
      app.add_subcommand("pool", "external addresses, changed in a running daemon: add, drain, del");
  pool->require_subcommand(1);
  for (const char* name : {"add", "drain", "del"}) {
    CLI::App* command = verb(*pool, name);
    positional(*command, "ADDRESS", "address", "an external address")->check(checked_address);
    option(*command, "network", "whose pool, where that is not clear");
  }
}

void ChangeOptions::add_to(CLI::App& app) {
  CLI::App* reload = add_command(app, "reload");
  reload->add_flag("--dry-run", dry_run_, "only tell what would change; exit code 1 if it could not be done");
  add_port(app);
  add_network(app);
  add_forward(app);
  add_pool(app);
}

std::string ChangeOptions::take(const CLI::App& chosen, CommandLine& line) const {
  if (line.command == "reload" && dry_run_) line.arguments["dry_run"] = true;
  if (std::ranges::find(kNouns, line.command) == std::end(kNouns)) return "";
  line.command += "-" + chosen.get_subcommands().front()->get_name();
  for (const auto& [name, text] : texts_)
    if (!text.empty()) line.arguments[name] = text;
  if (persistent_) line.arguments["persistent"] = true;
  if (line.command == "port-add" && !line.arguments.contains("vhost_user") &&
      !line.arguments.contains("device"))
    return "port add: give --vhost-user or --device";
  if (line.command != "network-add") return "";
  const auto text = text_in(texts_.at("file"));
  if (!text) return "network add: " + texts_.at("file") + " cannot be read";
  line.arguments["text"] = *text;
  return "";
}

}  // namespace vmnat::ctl
