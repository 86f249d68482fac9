// SPDX-License-Identifier: Apache-2.0
// What clients write into a request, read: its target, which form of metrics they take, whom they believe to
// speak with. Any bytes may come; nothing here knows sockets.
//
// Example: "/api/sessions?network=red&limit=5" is the path "/api/sessions" and two options. "/api/%zz" is none.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/address.h"

namespace vmnat::http {

struct Target {
  std::string path;  // without its escapes
  std::vector<std::pair<std::string, std::string>> options;
};
// Nothing: it does not begin with "/", has an escape that is none, or one that is a control character.
std::optional<Target> parse_target(std::string_view text);

// Prometheus' text format 0.0.4, or OpenMetrics 1.0.
enum class Exposition { Text, OpenMetrics };
// OpenMetrics is for those who name it, and like it no less than text (RFC 9110 section 12.5.1).
Exposition preferred_exposition(std::string_view accept);

// Whether a Host field means this server, which listens on that address. A page of another site may be made to
// speak with us by a name of its own that it has led to our address (DNS rebinding): so a name is only believed
// if it is "localhost" or `own_name`. An address is believed if it is a loopback address or the one that is
// listened on; any is if we listen on all.
bool is_own_host(std::string_view host, net::Ipv4Addr listens, std::string_view own_name);

// Whether an Authorization field bears the token; takes as long for each field of a length. An empty token is
// nobody's.
bool bears_token(std::string_view authorization, std::string_view token);

}  // namespace vmnat::http
