// SPDX-License-Identifier: Apache-2.0
// A stream of objects of the daemon's, printed as they come: what `trace` and `sessions --watch` have in common.
#pragma once

#include <functional>
#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "control/admin/client.h"
#include "control/ctl/command_line.h"

namespace vmnat::ctl {

// `print` gets each element that has the key, as it is and as it came. How many the daemon says are missing, in the
// element without the key that ends the stream.
using PrintElement = std::function<void(const nlohmann::json& element, std::string_view text)>;
tl::expected<std::uint64_t, admin::CallError> follow_elements(const CommandLine& line, const char* key,
                                                              const PrintElement& print, std::ostream& out);

}  // namespace vmnat::ctl
