// SPDX-License-Identifier: Apache-2.0
// A table of the commands with their arguments, and one function a command.
#include "control/changes/edit_request.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <initializer_list>
#include <span>

#include "control/config/values.h"

namespace vmnat::control {
namespace {

using config::Document;
using config::Node;
using Wishes = Result<std::vector<Wish>>;

struct Situation {
  const EditRequest& request;
  const Document& document;
  const Overlay& overlay;

  // An argument; empty: it is not given.
  [[nodiscard]] std::string get(const char* name) const {
    const auto found = request.arguments.find(name);
    return found == request.arguments.end() ? "" : found->second;
  }
};

tl::unexpected<Error> error(std::string what) {
  return tl::unexpected(Error{"", std::move(what)});
}

std::string whence(const Document& document, const Node& node) {
  switch (document.sources.at(node.at.source).origin) {
    case config::Origin::Script:
      return "by a script";
    case config::Origin::PersistentScript:
      return "by a script (persistent)";
    default:
      return fmt::format("by the configuration file (line {})", node.at.line);
  }
}

tl::unexpected<Error> is_there_already(const Situation& at, const ThingId& id) {
  return error(fmt::format("{} is there already, {}", to_string(id),
                           whence(at.document, *find_thing(at.document, id))));
}

// A thing that is not there may have been taken away.
tl::unexpected<Error> is_not_there(const Situation& at, Thing thing, const std::string& name) {
  const auto took_it = [&](const Edit& edit) {
    return edit.id.thing == thing && edit.id.name == name && edit.removes && !edit.adds;
  };
  const bool is_taken = std::ranges::any_of(at.overlay.persistent, took_it) ||
                        std::ranges::any_of(at.overlay.until_restart, took_it);
  return error(fmt::format("there is no {}{}", to_string(ThingId{thing, "", name}),
                           is_taken ? ": a script has taken away the one that was there" : ""));
}

bool has_network(const Document& document, const std::string& name) {
  return find_thing(document, {Thing::Network, name, name}) != nullptr;
}

// Of a port, besides its name; in the order that a person would write them in.
const std::initializer_list<std::string_view> kPortKeys{
    "vhost_user", "device", "vlan", "mode", "queues", "mac", "address", "migrates_from", "group", "limit"};

// A limit is a map: its text is YAML, as it would stand in the file.
Result<Node> value_of(std::string_view key, const std::string& text) {
  if (key != "limit") return config::scalar_node(text);
  auto node = config::read_yaml(text);
  if (!node) return error(fmt::format("{}: {}", key, node.error().message));
  return *std::move(node);
}

Wishes port_add(const Situation& at) {
  const std::string name = at.get("name"), network = at.get("network");
  if (const std::string other = network_of_port(at.document, name); !other.empty())
    return is_there_already(at, {Thing::Port, other, name});
  if (!has_network(at.document, network)) return is_not_there(at, Thing::Network, network);
  Node port{.kind = Node::Kind::Map, .at = {0, 0}};
  set_key(port, "name", config::scalar_node(name));
  for (const std::string_view key : kPortKeys) {
    const auto given = at.request.arguments.find(std::string{key});
    if (given == at.request.arguments.end()) continue;
    auto value = value_of(key, given->second);
    if (!value) return tl::unexpected(value.error());
    set_key(port, key, *std::move(value));
  }
  return std::vector<Wish>{{{Thing::Port, network, name}, std::move(port)}};
}

Wishes port_del(const Situation& at) {
  const std::string name = at.get("name"), network = network_of_port(at.document, name);
  if (network.empty()) return is_not_there(at, Thing::Port, name);
  return std::vector<Wish>{{{Thing::Port, network, name}}};
}

// The text is what would stand as one element of `networks`.
Wishes network_add(const Situation& at) {
  auto network = config::read_yaml(at.get("text"));
  if (!network) {
    network.error().file = at.get("file");
    return error(config::to_string(network.error()));
  }
  const std::string name{config::text_of(*network, "name")};
  if (name.empty())
    return error(fmt::format("{}:{}:{}: must be one network, a map with a name", at.get("file"),
                             network->at.line, network->at.column));
  const ThingId id{Thing::Network, name, name};
  if (has_network(at.document, name)) return is_there_already(at, id);
  return std::vector<Wish>{{id, *std::move(network), at.get("file")}};
}

Wishes network_del(const Situation& at) {
  const std::string name = at.get("name");
  if (!has_network(at.document, name)) return is_not_there(at, Thing::Network, name);
  return std::vector<Wish>{{{Thing::Network, name, name}}};
}

struct External {
  std::string address, port;
};
// "8080" or "203.0.113.7:8080"
External external_of(const Situation& at) {
  const std::string text = at.get("external");
  const auto colon = text.find(':');
  return colon == std::string::npos ? External{"", text}
                                    : External{text.substr(0, colon), text.substr(colon + 1)};
}

Result<std::string> forward_name_of(const Situation& at) {
  const auto [address, port] = external_of(at);
  const std::string protocol = at.get("protocol"), from = at.get("from");
  if (const auto remotes = config::address_block(from); !from.empty() && !remotes)
    return error("from: " + remotes.error());
  std::string name = forward_name({protocol, address, port, from});
  if (name.empty())
    return error(fmt::format("'{} {}' is no forward: write tcp or udp, and PORT or ADDRESS:PORT", protocol,
                             at.get("external")));
  return name;
}

// "192.168.122.10:80", or several: "192.168.122.10:80,192.168.122.11:80"
Result<std::vector<net::Endpoint>> servers_of(const Situation& at) {
  std::vector<net::Endpoint> servers;
  const std::string text = at.get("to");
  for (std::string_view left = text; !left.empty();) {
    const std::string_view one = left.substr(0, left.find(','));
    left.remove_prefix(std::min(left.size(), one.size() + 1));
    const auto server = config::endpoint(one);
    if (!server) return error("to: " + server.error());
    servers.push_back(*server);
  }
  if (servers.empty()) return error("to: " + config::endpoint(text).error());
  return servers;
}

// As the file has it: one by itself, or a list.
Node servers_node(const std::vector<net::Endpoint>& servers) {
  if (servers.size() == 1) return config::scalar_node(net::to_string(servers.front()));
  Node list{.kind = Node::Kind::List, .at = {0, 0}};
  for (const net::Endpoint server : servers)
    list.items.push_back(config::scalar_node(net::to_string(server)));
  return list;
}

// Whose VM has the address; empty: nobody's.
std::string network_around(const Document& document, net::Ipv4Addr address) {
  for (const Node& network : config::find_key(document.root, "networks")->items) {
    const auto prefix = config::prefix(config::text_of(network, "address"));
    if (prefix && prefix->contains(address)) return std::string{config::text_of(network, "name")};
  }
  return {};
}

Wishes forward_add(const Situation& at) {
  const auto name = forward_name_of(at);
  if (!name) return tl::unexpected(name.error());
  const auto to = servers_of(at);
  if (!to) return tl::unexpected(to.error());
  const net::Ipv4Addr first = to->front().address;
  const std::string network =
      at.get("network").empty() ? network_around(at.document, first) : at.get("network");
  if (network.empty()) return error("to: " + net::to_string(first) + " is within no network");
  if (!has_network(at.document, network)) return is_not_there(at, Thing::Network, network);
  const ThingId id{Thing::Forward, network, *name};
  if (find_thing(at.document, id) != nullptr) return is_there_already(at, id);
  const auto [address, port] = external_of(at);
  Node forward{.kind = Node::Kind::Map, .at = {0, 0}};
  set_key(forward, "protocol", config::scalar_node(at.get("protocol")));
  if (!address.empty()) set_key(forward, "address", config::scalar_node(address));
  set_key(forward, "port", config::scalar_node(port));
  set_key(forward, "to", servers_node(*to));
  if (!at.get("from").empty()) set_key(forward, "from", config::scalar_node(at.get("from")));
  return std::vector<Wish>{{id, std::move(forward)}};
}

// The network that has the thing: the one that is asked for, or the only one.
Result<std::string> network_that_has(const Situation& at, Thing thing, const std::string& name) {
  const auto all = networks_with(at.document, thing, name);
  const std::string asked = at.get("network");
  if (!asked.empty() && !has_network(at.document, asked)) return is_not_there(at, Thing::Network, asked);
  if (!asked.empty() && std::ranges::find(all, asked) == all.end())
    return error(fmt::format("network {} has no {}", asked, to_string(ThingId{thing, "", name})));
  if (!asked.empty()) return asked;
  if (all.empty()) return is_not_there(at, thing, name);
  if (all.size() > 1)
    return error(fmt::format("several networks have {} ({}): say which by network",
                             to_string(ThingId{thing, "", name}), fmt::join(all, ", ")));
  return all.front();
}

Wishes forward_del(const Situation& at) {
  const auto name = forward_name_of(at);
  if (!name) return tl::unexpected(name.error());
  const auto network = network_that_has(at, Thing::Forward, *name);
  if (!network) return tl::unexpected(network.error());
  return std::vector<Wish>{{{Thing::Forward, *network, *name}}};
}

Result<std::string> address_of(const Situation& at) {
  const auto address = config::host_address(at.get("address"));
  if (!address) return error("address: " + address.error());
  return net::to_string(*address);
}

// Where an address is added: the network that is asked for, or the only one with a pool.
Result<std::string> network_with_pool(const Situation& at) {
  const std::string asked = at.get("network");
  if (!asked.empty() && !has_network(at.document, asked)) return is_not_there(at, Thing::Network, asked);
  if (!asked.empty()) return asked;
  std::vector<std::string> all;
  for (const Node& network : config::find_key(at.document.root, "networks")->items)
    if (config::text_of(network, "forward") != "none") all.emplace_back(config::text_of(network, "name"));
  if (all.empty()) return error("there is no network with nat");
  if (all.size() > 1)
    return error(
        fmt::format("there are several networks with nat ({}): say which by network", fmt::join(all, ", ")));
  return all.front();
}

// An address that is drained is taken into use again.
Wishes pool_add(const Situation& at) {
  const auto address = address_of(at);
  if (!address) return tl::unexpected(address.error());
  const auto network = network_with_pool(at);
  if (!network) return tl::unexpected(network.error());
  const ThingId id{Thing::Address, *network, *address}, drain{Thing::Drain, *network, *address};
  if (find_thing(at.document, drain) != nullptr) return std::vector<Wish>{{drain}};
  if (find_thing(at.document, id) != nullptr) return is_there_already(at, id);
  return std::vector<Wish>{{id, config::scalar_node(*address)}};
}

Wishes pool_drain(const Situation& at) {
  const auto address = address_of(at);
  if (!address) return tl::unexpected(address.error());
  const auto network = network_that_has(at, Thing::Address, *address);
  if (!network) return tl::unexpected(network.error());
  const ThingId drain{Thing::Drain, *network, *address};
  if (find_thing(at.document, drain) != nullptr) return is_there_already(at, drain);
  return std::vector<Wish>{{drain, config::scalar_node(*address)}};
}

Wishes pool_del(const Situation& at) {
  const auto address = address_of(at);
  if (!address) return tl::unexpected(address.error());
  const auto network = network_that_has(at, Thing::Address, *address);
  if (!network) return tl::unexpected(network.error());
  return std::vector<Wish>{{{Thing::Drain, *network, *address}}, {{Thing::Address, *network, *address}}};
}

struct EditCommand {
  std::string_view name;
  Wishes (*wishes)(const Situation&);
  std::initializer_list<std::string_view> required, optional;
};
const EditCommand kEditCommands[] = {
    {"port-add", port_add, {"name", "network"}, kPortKeys},
    {"port-del", port_del, {"name"}, {}},
    {"network-add", network_add, {"text", "file"}, {}},
    {"network-del", network_del, {"name"}, {}},
    {"forward-add", forward_add, {"protocol", "external", "to"}, {"from", "network"}},
    {"forward-del", forward_del, {"protocol", "external"}, {"from", "network"}},
    {"pool-add", pool_add, {"address"}, {"network"}},
    {"pool-drain", pool_drain, {"address"}, {"network"}},
    {"pool-del", pool_del, {"address"}, {"network"}},
};

std::optional<Error> wrong_argument(const EditCommand& command, const EditRequest& request) {
  for (const std::string_view name : command.required)
    if (const auto found = request.arguments.find(std::string{name});
        found == request.arguments.end() || found->second.empty())
      return Error{std::string{name}, "is missing"};
  const auto knows = [](const auto& names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
  };
  for (const auto& [name, text] : request.arguments)
    if (!knows(command.required, name) && !knows(command.optional, name))
      return Error{name, "is not an argument of this command"};
  return std::nullopt;
}

}  // namespace

Result<std::vector<Wish>> wishes_of(const EditRequest& request, const Document& document,
                                    const Overlay& overlay) {
  const auto* const command = std::ranges::find(kEditCommands, request.command, &EditCommand::name);
  if (command == std::end(kEditCommands)) return error("'" + request.command + "' edits nothing");
  if (const auto wrong = wrong_argument(*command, request)) return tl::unexpected(*wrong);
  return command->wishes({request, document, overlay});
}

}  // namespace vmnat::control
