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

// New content, written beside the file as `PATH.new`. It takes the file's place, or goes with this object.
class FreshFile {
 public:
  static Result<FreshFile> write(const std::string& path, std::span<const std::byte> bytes, Readers readers,
                                 Writing writing);
  FreshFile(FreshFile&&) = default;
  FreshFile& operator=(FreshFile&&) = delete;
  FreshFile(const FreshFile&) = delete;
  FreshFile& operator=(const FreshFile&) = delete;
  ~FreshFile();

  // Renames it; when that fails, the old file stays. Answers the new file, open for appending. The rename itself
  // is on the disk after sync_directory_of().
  Result<FileDescriptor> put_in_place() &&;
  // The same, with the rename on the disk.
  Result<void> put_in_place_durably() &&;

 private:
  FreshFile(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  FileDescriptor file_;  // closed: it is in place
};

// Both steps at once.
Result<FileDescriptor> put_in_place(const std::string& path, std::span<const std::byte> bytes,
                                    Readers readers, Writing writing);

// The same for a text that all may read; Durable includes the rename.
Result<void> replace_file(const std::string& path, std::string_view text, Writing writing);

}  // namespace vmnat::control
