// SPDX-License-Identifier: Apache-2.0
// Which sessions `sessions` and `flush` are about: the typed form of their arguments, the same for both ends.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "control/result.h"
#include "net/address.h"
#include "net/protocol.h"

namespace vmnat::admin {

// "A.B.C.D" (any port) or "A.B.C.D:port".
struct EndpointFilter {
  net::Ipv4Addr address;
  std::optional<net::L4Port> port;
  [[nodiscard]] bool matches(net::Endpoint e) const {
    return e.address == address && (!port || e.port == *port);
  }
  bool operator==(const EndpointFilter&) const = default;
};

struct SessionFilter {
  std::optional<std::string> network, port, state;
  std::optional<net::Protocol> protocol;
  std::optional<EndpointFilter> internal, external, remote;
  std::uint64_t limit = 0;  // 0: all
  bool count = false;

  // True when every session matches.
  [[nodiscard]] bool is_empty() const {
    return !network && !port && !state && !protocol && !internal && !external && !remote;
  }
  bool operator==(const SessionFilter&) const = default;
};

// `ignored`: an argument of the command's own, not a filter's. Any other unknown argument is an Error, as is
// a value that cannot be read; its `where` is the argument's name.
control::Result<SessionFilter> session_filter(const nlohmann::json& arguments, std::string_view ignored = {});

std::optional<EndpointFilter> parse_endpoint_filter(std::string_view text);

}  // namespace vmnat::admin
