// SPDX-License-Identifier: Apache-2.0
// Each thing has a list in the document, and a way in which its name is found among the list's items.
#include "control/changes/edit.h"

#include <algorithm>

#include "control/config/values.h"

namespace vmnat::control {
namespace {

using config::Document;
using config::find_key;
using config::Node;
using config::set_key;
using config::text_of;

std::string_view noun_of(Thing thing) {
  switch (thing) {
    case Thing::Network:
      return "network";
    case Thing::Port:
      return "port";
    case Thing::Forward:
      return "forward";
    case Thing::Address:
      return "pool address";
    case Thing::Drain:
      break;
  }
  return "drain of pool address";
}

// The key of a thing's list, in its network or in the network's section nat.
std::string_view key_of(Thing thing) {
  switch (thing) {
    case Thing::Port:
      return "ports";
    case Thing::Forward:
      return "forwards";
    case Thing::Drain:
      return "drain";
    case Thing::Address:
    case Thing::Network:
      break;
  }
  return "addresses";
}

bool is_range(Thing thing) {
  return thing == Thing::Address || thing == Thing::Drain;
}

std::string name_of(Thing thing, const Node& item) {
  if (thing != Thing::Forward) return std::string{text_of(item, "name")};
  return forward_name(
      {text_of(item, "protocol"), text_of(item, "address"), text_of(item, "port"), text_of(item, "from")});
}

// Of a thousand forwards, most differ by their port.
bool may_have_name(const Node& forward, std::string_view name) {
  const auto ports = config::port_range(text_of(forward, "port"));
  const std::string_view before_remotes = name.substr(0, name.find(" from "));
  return ports && before_remotes.ends_with(config::to_text(*ports));
}

bool has_name(Thing thing, const Node& item, const std::string& name) {
  if (thing == Thing::Forward && !may_have_name(item, name)) return false;
  if (!is_range(thing)) return name_of(thing, item) == name;
  const auto range = config::address_range(item.text);
  const auto address = config::host_address(name);
  return range && address && range->contains(*address);
}

// Only lists: a word may stand for one. AnyNode: Node or const Node.
template <typename AnyNode>
AnyNode* as_list(AnyNode* node) {
  return node != nullptr && node->kind == Node::Kind::List ? node : nullptr;
}

template <typename AnyNode>
AnyNode* find_item(AnyNode* list, Thing thing, const std::string& name) {
  if (as_list(list) == nullptr) return nullptr;
  const auto found =
      std::ranges::find_if(list->items, [&](const Node& item) { return has_name(thing, item, name); });
  return found == list->items.end() ? nullptr : &*found;
}

template <typename AnyNode>
AnyNode* find_network(AnyNode& root, const std::string& name) {
  return find_item(find_key(root, "networks"), Thing::Network, name);
}

template <typename AnyNode>
AnyNode* find_list(AnyNode& root, const ThingId& id) {
  if (id.thing == Thing::Network) return as_list(find_key(root, "networks"));
  AnyNode* const network = find_network(root, id.network);
  if (network == nullptr) return nullptr;
  if (id.thing == Thing::Port) return as_list(find_key(*network, key_of(id.thing)));
  AnyNode* const nat = find_key(*network, "nat");
  return nat == nullptr ? nullptr : as_list(find_key(*nat, key_of(id.thing)));
}

// What `nat.addresses` is where it is no list: the uplink's address; nothing: DHCP will tell it.
std::optional<Node> uplink_address(const Node& root) {
  const Node* const uplink = find_key(root, "uplink");
  const Node* const address = uplink == nullptr ? nullptr : find_key(*uplink, "address");
  const auto prefix = config::prefix(address == nullptr ? "" : address->text);
  if (!prefix) return std::nullopt;
  Node node = *address;
  node.text = net::to_string(prefix->address);
  return node;
}

// The list, written out where it is not yet, in a network that exists; null: it cannot be.
Node* make_list(Node& root, const ThingId& id, config::Position at) {
  if (Node* const list = find_list(root, id)) return list;
  Node* const network = find_network(root, id.network);
  if (network == nullptr) return nullptr;
  Node list{.kind = Node::Kind::List, .at = at};
  if (id.thing == Thing::Address) {
    auto own = uplink_address(root);
    if (!own) return nullptr;
    list.items.push_back(*std::move(own));
  }
  if (id.thing == Thing::Port) return &set_key(*network, key_of(id.thing), std::move(list));
  Node* nat = find_key(*network, "nat");
  if (nat == nullptr) nat = &set_key(*network, "nat", {.kind = Node::Kind::Map, .at = at});
  return &set_key(*nat, key_of(id.thing), std::move(list));
}

// What is left of a range without the address: none, one or two ranges.
std::vector<Node> without(const Node& range, const std::string& name) {
  std::vector<Node> left;
  const auto whole = config::address_range(range.text);
  const std::uint32_t gone = config::host_address(name)->host();
  const auto keep = [&](std::uint32_t first, std::uint32_t last) {
    Node part = range;
    part.text = config::to_text(
        config::AddressRange{net::Ipv4Addr::from_host(first), net::Ipv4Addr::from_host(last)});
    left.push_back(std::move(part));
  };
  if (whole->first.host() < gone) keep(whole->first.host(), gone - 1);
  if (gone < whole->last.host()) keep(gone + 1, whole->last.host());
  return left;
}

void remove(const ThingId& id, Node& root, config::Position by) {
  // A pool that is no list yet has the uplink's address, which may be what is to go.
  Node* const list = id.thing == Thing::Address ? make_list(root, id, by) : find_list(root, id);
  Node* const item = find_item(list, id.thing, id.name);
  if (item == nullptr) return;
  const std::vector<Node> left = is_range(id.thing) ? without(*item, id.name) : std::vector<Node>{};
  const auto at = list->items.erase(list->items.begin() + (item - list->items.data()));
  list->items.insert(at, left.begin(), left.end());
}

void for_each_position(Node& node, const auto& visit) {
  visit(node.at);
  std::ranges::for_each(node.key_at, visit);
  for (Node& item : node.items) for_each_position(item, visit);
}

std::string why_no_list(const Node& root, const ThingId& id) {
  if (find_network(root, id.network) == nullptr) return "there is no network " + id.network;
  const bool has_several = find_key(root, "uplinks") != nullptr;
  return "network " + id.network + " has no pool of its own: it uses the address " +
         (has_several ? "of the uplink that it is on" : "that DHCP gives the uplink");
}

}  // namespace

std::string to_string(const ThingId& id) {
  return std::string{noun_of(id.thing)} + ' ' + id.name;
}

void forget_lines(Edit& edit) {
  edit.file.clear();
  if (edit.adds) for_each_position(*edit.adds, [](config::Position& at) { at = {0, 0}; });
}

const Node* find_thing(const Document& document, const ThingId& id) {
  const Node* const list = find_list(document.root, id);
  if (list != nullptr || id.thing != Thing::Address || find_network(document.root, id.network) == nullptr)
    return find_item(list, id.thing, id.name);
  const auto own = uplink_address(document.root);
  if (!own || own->text != id.name) return nullptr;
  return find_key(*find_key(document.root, "uplink"), "address");
}

std::vector<std::string> networks_with(const Document& document, Thing thing, const std::string& name) {
  std::vector<std::string> names;
  const Node* const networks = find_key(document.root, "networks");
  if (networks == nullptr) return names;
  for (const Node& network : networks->items)
    if (const std::string network_name = name_of(Thing::Network, network);
        find_thing(document, {thing, network_name, name}) != nullptr)
      names.push_back(network_name);
  return names;
}

std::string network_of_port(const Document& document, std::string_view port) {
  const auto names = networks_with(document, Thing::Port, std::string{port});
  return names.empty() ? "" : names.front();
}

std::string forward_name(const ForwardTexts& texts) {
  const auto& [protocol, address, port, from] = texts;
  const auto protocol_read = config::word<net::Protocol>(protocol);
  const auto ports = config::port_range(port);
  const bool is_all = address.empty() || address == "all", is_for_any = from.empty() || from == "any";
  const auto address_read = config::host_address(address);
  const auto remotes = config::address_block(from);
  if (!protocol_read || !ports || (!is_all && !address_read) || (!is_for_any && !remotes)) return {};
  return std::string{protocol} + ' ' + (is_all ? "" : net::to_string(*address_read) + ':') +
         config::to_text(*ports) + (is_for_any ? "" : " from " + config::address_block_text(*remotes));
}

std::optional<std::string> apply(const Edit& edit, config::Origin origin, Document& document) {
  Node& root = document.root;
  const config::Position by{0, 0, static_cast<unsigned>(document.sources.size())};
  document.sources.push_back({edit.file.empty() ? to_string(edit.id) + " (by a script)" : edit.file, origin});
  if (edit.adds) {
    const Node* const list = make_list(root, edit.id, by);
    if (list == nullptr) return why_no_list(root, edit.id);
    if (!edit.removes && find_item(list, edit.id.thing, edit.id.name) != nullptr)
      return "the configuration file has it, too";
  }
  if (edit.removes) remove(edit.id, root, by);
  if (!edit.adds) return std::nullopt;
  Node added = *edit.adds;
  for_each_position(added, [&](config::Position& at) { at.source = by.source; });
  make_list(root, edit.id, by)->items.push_back(std::move(added));
  return std::nullopt;
}

}  // namespace vmnat::control
