// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value, or an Error that says where it happened and what to know about it.
//
// For files, devices, sockets: whatever may fail for reasons outside of the program. Frames never make an
// Error (a verdict and a counter, see dataplane), and a broken invariant is an assertion.
// Example: `return tl::unexpected(Error{path, "cannot be read: Permission denied"});`
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace vmnat::control {

struct Error {
  std::string where;  // a file, a device, a socket, a key: what the reader would go and look at
  std::string what;   // a sentence, best with what to do about it
  bool operator==(const Error&) const = default;
};

inline std::string to_string(const Error& error) {
  return error.where.empty() ? error.what : error.where + ": " + error.what;
}

template <typename T>
using Result = tl::expected<T, Error>;

}  // namespace vmnat::control
