// SPDX-License-Identifier: Apache-2.0
// Replacing a file as a whole: whoever reads it sees the old content or the new one, never a part.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "control/result.h"
#include "control/system/file_descriptor.h"

namespace vmnat::control {

// Durable: on the disk when the function returns. Fast: when the system gets to it.
enum class Writing { Durable, Fast };
enum class Readers { All, OwnerOnly };

// Writes `PATH.new` and renames it; when that fails, the old file stays. Answers the new file, open for
// appending. The rename itself is on the disk after sync_directory_of().
Result<FileDescriptor> put_in_place(const std::string& path, std::span<const std::byte> bytes,
                                    Readers readers, Writing writing);

// The same for a text that all may read; Durable includes the rename.
Result<void> replace_file(const std::string& path, std::string_view text, Writing writing);

}  // namespace vmnat::control
