// SPDX-License-Identifier: Apache-2.0
// The other end of the admin socket: one blocking call, used by vmnatctl and tests.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "control/admin/server.h"

namespace vmnat::admin {

struct CallError {
  enum class Kind {
    CannotConnect,  // no daemon, or no permission
    Refused,        // the daemon's own words
    BrokenOff,      // the connection or the answer ended early
  };
  Kind kind;
  std::string what;  // a sentence
};

// Sends one request and gives each element's line of JSON, without its newline, to `on_element` as it comes.
tl::expected<Answer::Kind, CallError> call(const std::string& socket_path, const std::string& command,
                                           const Json& arguments,
                                           const std::function<void(std::string_view)>& on_element,
                                           std::chrono::seconds patience = std::chrono::seconds{60});

}  // namespace vmnat::admin
