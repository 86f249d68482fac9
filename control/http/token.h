// SPDX-License-Identifier: Apache-2.0
// The token of control.token_file.
#pragma once

#include <string>

#include "control/result.h"

namespace vmnat::http {

// The first line of the file. An Error: it cannot be read, others than its owner and group may have access to it, or
// the token is too short or has characters that a field of HTTP cannot bear.
control::Result<std::string> read_token(const std::string& path);

}  // namespace vmnat::http
