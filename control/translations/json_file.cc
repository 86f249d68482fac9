// SPDX-License-Identifier: Apache-2.0
// The file of JSON lines. It is appended to in whole lines: what a full disk has taken of a line is taken back. One that
// was renamed, or deleted, is left for a new one of its name, as logrotate's files are: nobody has to say so.
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "control/system/file_descriptor.h"
#include "control/translations/line.h"
#include "control/translations/sink.h"

namespace vmnat::control {
namespace {

constexpr mode_t kMode = 0640;  // who spoke with whom is not for everybody

class JsonFile final : public Sink {
 public:
  explicit JsonFile(std::string path) : path_(std::move(path)) { open(); }

  void write(const Translation& translation) override {
    append_json(translation, lines_);
    lines_.push_back('\n');
    ++waiting_;
  }

  std::uint64_t flush() override {
    if (waiting_ == 0) return 0;
    const std::uint64_t lines = std::exchange(waiting_, 0);
    const bool is_written = file_.is_open() && append();
    lines_.clear();
    return is_written ? 0 : lines;
  }

  void look_again() override {
    struct stat named {
    }, opened{};
    const bool is_it = file_.is_open() && stat(path_.c_str(), &named) == 0 &&
                       fstat(file_.number(), &opened) == 0 && named.st_ino == opened.st_ino &&
                       named.st_dev == opened.st_dev;
    if (!is_it) open();
  }

  [[nodiscard]] const std::string& problem() const override { return problem_; }

 private:
  void open() {
    file_ =
        FileDescriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, kMode));
    if (file_.is_open())
      problem_.clear();
    else
      complain("cannot be opened");
  }
  bool append() {
    const off_t end = lseek(file_.number(), 0, SEEK_END);
    if (write_all(file_.number(), std::as_bytes(std::span(lines_.data(), lines_.size())))) {
      problem_.clear();
      return true;
    }
    complain("cannot be written");
    // EINVAL: a device, which keeps no part of a line.
    if (end >= 0 && ftruncate(file_.number(), end) != 0 && errno != EINVAL)
      complain("has a part of a line at its end");
    return false;
  }
  void complain(const char* what) {
    problem_ = fmt::format("{} {}: {}", path_, what, std::generic_category().message(errno));
  }

  const std::string path_;
  FileDescriptor file_;
  Buffer lines_;
  std::uint64_t waiting_ = 0;  // lines
  std::string problem_;
};

}  // namespace

std::unique_ptr<Sink> make_json_file(const std::string& path) {
  return std::make_unique<JsonFile>(path);
}

}  // namespace vmnat::control
