// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/capture_file.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <ostream>
#include <system_error>
#include <unistd.h>

#include "control/admin/client.h"
#include "control/ctl/exits.h"

namespace vmnat::ctl {
namespace {

constexpr mode_t kOwnerAlone = 0600;  // frames are nobody else's business

// A file of the user's, or standard output.
class Output {
 public:
  Output(const std::string& path, std::ostream& out) : out_(out) {
    if (path == "-") return;
    file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kOwnerAlone);
    if (file_ < 0) problem_ = path + ": " + std::generic_category().message(errno);
  }
  ~Output() {
    if (file_ >= 0) ::close(file_);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // Why nothing can be written; empty: it can.
  [[nodiscard]] const std::string& problem() const { return problem_; }

  // At once, for whoever reads meanwhile. False: it cannot be written, or nobody reads any more.
  bool write(std::string_view bytes) {
    if (file_ < 0)
      return static_cast<bool>(out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush());
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_, bytes.data(), bytes.size());
      if (written < 0 && errno != EINTR)
        problem_ = "the file cannot be written: " + std::generic_category().message(errno);
      if (!problem_.empty()) return false;
      if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }

 private:
  std::ostream& out_;
  int file_ = -1;
  std::string problem_;
};

}  // namespace

Exit write_capture(const CommandLine& line, std::ostream& out, std::ostream& err) {
  Output output(line.write, out);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is no fault
  nlohmann::json summary;
  const admin::StreamReader reader{.on_element =
                                       [&](std::string_view json) {
                                         summary = nlohmann::json::parse(json, nullptr, false);
                                         return true;
                                       },
                                   .on_bytes = [&](std::string_view bytes) { return output.write(bytes); },
                                   .output = line.write == "-" ? STDOUT_FILENO : -1};
  if (output.problem().empty()) {
    const auto followed = admin::follow(line.socket, line.command, line.arguments, reader);
    if (!followed) return fail(followed.error(), err);
  }
  if (!output.problem().empty()) {
    err << "vmnatctl: " << output.problem() << '\n';
    return Exit::DaemonError;
  }
  if (summary.is_object())
    err << fmt::format("vmnatctl: {} frames captured, {} missed\n", summary.value("captured", 0ULL),
                       summary.value("missed", 0ULL));
  return Exit::Ok;
}

}  // namespace vmnat::ctl
