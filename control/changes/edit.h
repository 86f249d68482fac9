// SPDX-License-Identifier: Apache-2.0
// Edit: one thing that a script has changed on top of the configuration file, and its place in the document.
//
// A thing is a network, a port, a forward, an address of a pool, or an address's drain. It has a name, by which
// the file's own is found: "vm9", "tcp 203.0.113.7:8080", "tcp 22 from 198.51.100.0/24", "203.0.113.7". An edit takes
// it away, adds it, or puts another in its place (both). Example: `vmnatctl port del vm1` of a port that the file has
// is
//
//   {.thing = Port, .network = "default", .name = "vm1", .removes = true}
//
// The functions change Node trees whose shape config::load_document() has accepted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "control/config/document.h"

namespace vmnat::control {

enum class Thing { Network, Port, Forward, Address, Drain };

// Which thing: two of one identity are the same.
struct ThingId {
  Thing thing = Thing::Port;
  std::string network;  // that it is in; of a network, its name
  std::string name;
  bool operator==(const ThingId&) const = default;
  // It goes with that network.
  [[nodiscard]] bool is_within(const ThingId& other) const {
    return other.thing == Thing::Network && thing != Thing::Network && network == other.name;
  }
};
std::string to_string(const ThingId& id);  // "port vm9", "forward tcp 8080", "network lab"

struct Edit {
  ThingId id;
  bool removes = false;
  std::optional<config::Node> adds = {};
  std::string file = {};  // whose lines `adds` has; empty: of none
};
// `adds` as it is told from now on: as a script's, without lines of a file.
void forget_lines(Edit& edit);

// The thing as it stands in the document; null: it is not there. Of an address: what has it, such as a range.
const config::Node* find_thing(const config::Document& document, const ThingId& id);
// The network that has a port of that name; empty: none has.
std::string network_of_port(const config::Document& document, std::string_view port);
// The networks that have the thing, which is named without its network.
std::vector<std::string> networks_with(const config::Document& document, Thing thing,
                                       const std::string& name);

// The name of a forward, from what the file or a command says of it; empty: it cannot be read.
struct ForwardTexts {
  std::string_view protocol, address, port, from;
};
std::string forward_name(const ForwardTexts& texts);

// Makes the edit, whose parts get a source of that origin in the document. Otherwise answers why it cannot be
// made, and leaves the configuration as it was. To take away what is not there is no error.
std::optional<std::string> apply(const Edit& edit, config::Origin origin, config::Document& document);

}  // namespace vmnat::control
