// SPDX-License-Identifier: Apache-2.0
// The other end of the admin socket: one call that blocks, used by vmnatctl and tests.
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

// One line of the answer, without its newline: an element of a list, or the object.
using OnElement = std::function<void(Answer::Kind, std::string_view json)>;

// Sends one request and passes on what comes. `patience` is how long vmnatd may be silent.
tl::expected<Answer::Kind, CallError> call(const std::string& socket_path, const std::string& command,
                                           const Json& arguments, const OnElement& on_element,
                                           std::chrono::milliseconds patience = std::chrono::seconds{60});

// Who reads a stream. False: no more is wanted, and the connection is closed at once.
struct StreamReader {
  std::function<bool(std::string_view json)> on_element;
  std::function<bool(std::string_view bytes)> on_bytes;
  int output =
      -1;  // a descriptor, of a pipe perhaps, without whose other end nothing is wanted any more; -1: none
};

// Reads a stream until it ends. SIGINT and SIGTERM ask the daemon to finish, and what it says then is read, too; the
// second one ends it at once.
tl::expected<void, CallError> follow(const std::string& socket_path, const std::string& command,
                                     const Json& arguments, const StreamReader& reader,
                                     std::chrono::milliseconds patience = std::chrono::seconds{60});

}  // namespace vmnat::admin
