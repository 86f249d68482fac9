// SPDX-License-Identifier: Apache-2.0
// Replacing a file as a whole: whoever reads it sees the old text or the new one, never a part.
#pragma once

#include <string>
#include <string_view>

#include "control/result.h"

namespace vmnat::control {

// Durable: on the disk, rename and all, when the function returns. Fast: when the system gets to it.
enum class Writing { Durable, Fast };

// Writes `PATH.new` with mode 0644 and renames it.
Result<void> replace_file(const std::string& path, std::string_view text, Writing writing);

}  // namespace vmnat::control
