// SPDX-License-Identifier: Apache-2.0
// Plain blocking sockets: vmnatctl has nothing else to do while it waits.
#include "control/admin/client.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace vmnat::admin {
namespace {

using Kind = CallError::Kind;

tl::unexpected<CallError> failure(Kind kind, std::string what) {
  return tl::unexpected(CallError{kind, std::move(what)});
}

class Socket {
 public:
  Socket() : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // 0, or the errno of what failed.
  int connect(const std::string& path, std::chrono::milliseconds patience) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
    std::memcpy(address.sun_path, path.data(), path.size());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
    const timeval limit{.tv_sec = seconds.count(), .tv_usec = (patience - seconds).count() * 1000};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  }

  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // The next line without its newline, valid until the next call; nothing when the stream ends or stalls.
  std::optional<std::string_view> next_line() {
    for (;;) {
      const auto newline = buffer_.find('\n', searched_);
      if (newline != buffer_.npos) {
        const std::string_view line(buffer_.data() + start_, newline - start_);
        start_ = searched_ = newline + 1;
        return line;
      }
      buffer_.erase(0, start_);
      start_ = 0;
      searched_ = buffer_.size();
      char block[65536];
      const ssize_t length = ::recv(fd_, block, sizeof block, 0);
      if (length <= 0) return std::nullopt;
      buffer_.append(block, static_cast<std::size_t>(length));
    }
  }

 private:
  int fd_;
  std::string buffer_;
  std::size_t start_ = 0, searched_ = 0;
};

std::string why_not_connected(const std::string& path, int error) {
  if (error == ENOENT)
    return "there is no socket " + path + " (is vmnatd running? its path is control.socket)";
  if (error == ECONNREFUSED) return "nobody answers on " + path + " (vmnatd is not running)";
  if (error == EACCES) return "no permission to use " + path + " (try as root)";
  return "cannot connect to " + path + ": " + std::strerror(error);
}

tl::expected<Answer::Kind, CallError> read_header(Socket& socket) {
  const auto line = socket.next_line();
  if (!line) return failure(Kind::BrokenOff, "vmnatd closed the connection without an answer");
  const Json header = Json::parse(*line, nullptr, false);
  if (!header.is_object() || !header.contains("ok"))
    return failure(Kind::BrokenOff, "this is not vmnatd's answer: " + std::string{*line});
  if (header["ok"] != true) return failure(Kind::Refused, header.value("error", "no reason given"));
  return header.value("kind", "") == "list" ? Answer::Kind::List : Answer::Kind::Object;
}

}  // namespace

tl::expected<Answer::Kind, CallError> call(const std::string& socket_path, const std::string& command,
                                           const Json& arguments, const OnElement& on_element,
                                           std::chrono::milliseconds patience) {
  Socket socket;
  if (const int error = socket.connect(socket_path, patience); error != 0)
    return failure(Kind::CannotConnect, why_not_connected(socket_path, error));
  if (!socket.send(Json{{"command", command}, {"arguments", arguments}}.dump() + "\n"))
    return failure(Kind::BrokenOff, "vmnatd closed the connection without an answer");

  const auto kind = read_header(socket);
  if (!kind) return kind;
  while (const auto line = socket.next_line()) {
    if (!line->starts_with(R"({"end":)")) {
      on_element(*kind, *line);
      continue;
    }
    const Json end = Json::parse(*line, nullptr, false);
    if (end.is_object() && end["end"] == true) return kind;
    return failure(Kind::BrokenOff,
                   end.is_object() ? end.value("error", "no reason given") : "the answer is garbled");
  }
  return failure(Kind::BrokenOff, "vmnatd closed the connection in the middle of its answer");
}

}  // namespace vmnat::admin
