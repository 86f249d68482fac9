// SPDX-License-Identifier: Apache-2.0
// A configuration file with a bit of everything that scripts change, and short ways to edit it.
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "control/changes/overlay.h"
#include "control/config/load.h"
#include "tests/support/config_text.h"

namespace vmnat::control {

inline const std::string kFileText = R"(uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}
networks:
  - name: red
    address: 192.168.122.1/24
    ports:
      - {name: vm1, vhost_user: /run/vm1.sock}
      - {name: vm2, device: veth2}
    dhcp: {}
    nat:
      addresses: [203.0.113.2, 203.0.113.16-203.0.113.19]
      forwards: [{protocol: tcp, port: 8080, to: 192.168.122.10:80}]
  - {name: blue, address: 192.168.5.1/24}
)";

inline config::Document file_document(const std::string& text = kFileText) {
  auto document = config::read_document_text(text, "/etc/vmnat.yaml");
  return document ? *std::move(document) : config::Document{};
}

inline config::Node map_node(const std::vector<std::pair<std::string, std::string>>& keys) {
  config::Node node{.kind = config::Node::Kind::Map, .at = {0, 0}};
  for (const auto& [key, text] : keys) set_key(node, key, config::scalar_node(text));
  return node;
}

inline ThingId port_id(const std::string& name, const std::string& network = "red") {
  return {Thing::Port, network, name};
}

inline Wish port_wish(const std::string& name, const std::string& device) {
  return {port_id(name), map_node({{"name", name}, {"device", device}})};
}

// The Config of a document; a failure of the test where it has a problem.
inline config::Config config_of(const config::Document& document) {
  const auto loaded = load_document(document, config::fixed_resolvers());
  if (loaded) return *loaded;
  ADD_FAILURE() << to_string(loaded.error().front());
  return {};
}

inline std::vector<std::string> port_names(const config::Config& config, std::size_t network = 0) {
  std::vector<std::string> names;
  if (network >= config.networks.size()) return names;
  for (const config::VmPort& port : config.networks[network].ports) names.push_back(port.name);
  return names;
}

}  // namespace vmnat::control
