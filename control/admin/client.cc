// SPDX-License-Identifier: Apache-2.0
// Asio's operations, each waited for: vmnatctl has nothing else to do meanwhile.
#include "control/admin/client.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "control/system/unix_socket.h"

namespace vmnat::admin {
namespace {

namespace asio = boost::asio;
using asio::local::stream_protocol;
using boost::system::error_code;
using Kind = CallError::Kind;

tl::unexpected<CallError> failure(Kind kind, std::string what) {
  return tl::unexpected(CallError{kind, std::move(what)});
}

class Connection {
 public:
  explicit Connection(std::chrono::milliseconds patience) : patience_(patience), socket_(context_) {}

  error_code connect(const std::string& path) try {
    const stream_protocol::endpoint endpoint(path);
    return wait_for(
        [&](auto done) { socket_.async_connect(endpoint, [done](error_code error) { done(error, 0); }); });
  } catch (const boost::system::system_error& error) {
    return error.code();  // a path that is too long for a socket
  }

  // Why the answers are not to be believed; empty: they are.
  std::string distrust(const std::string& path) {
    return control::distrust_of_listener(socket_.native_handle(), path);
  }

  void send(const std::string& text) {
    wait_for([&](auto done) { asio::async_write(socket_, asio::buffer(text), done); });
  }

  // The next line without its newline, valid until the next call; nothing when the stream ends or stalls.
  std::optional<std::string_view> next_line() {
    for (;;) {
      const auto newline = buffer_.find('\n', searched_);
      if (newline != std::string::npos) {
        const std::string_view line(buffer_.data() + start_, newline - start_);
        start_ = searched_ = newline + 1;
        return line;
      }
      buffer_.erase(0, start_);
      start_ = 0;
      searched_ = buffer_.size();
      if (!read_more()) return std::nullopt;
    }
  }

 private:
  // Begins an operation and waits until it is done. One that takes too long is given up, and so is the
  // connection.
  template <typename Begin>
  error_code wait_for(Begin begin) {
    error_code result;
    begin([this, &result](error_code error, std::size_t length) {
      result = error;
      length_ = length;
    });
    context_.restart();
    context_.run_for(patience_);
    if (context_.stopped()) return result;
    socket_.close();
    context_.run();
    return result;
  }

  bool read_more() {
    constexpr std::size_t kBlock = 65536;
    const std::size_t before = buffer_.size();
    buffer_.resize(before + kBlock);
    const error_code error = wait_for(
        [&](auto done) { socket_.async_read_some(asio::buffer(buffer_.data() + before, kBlock), done); });
    buffer_.resize(before + (error ? 0 : length_));
    return !error;
  }

  std::chrono::milliseconds patience_;
  asio::io_context context_{1};
  stream_protocol::socket socket_;
  std::size_t length_ = 0;  // of what the last operation sent or read
  std::string buffer_;
  std::size_t start_ = 0, searched_ = 0;
};

std::string why_not_connected(const std::string& path, error_code error) {
  if (error == boost::system::errc::no_such_file_or_directory)
    return "there is no socket " + path + " (is vmnatd running? its path is control.socket)";
  if (error == asio::error::connection_refused)
    return "nobody answers on " + path + " (vmnatd is not running)";
  if (error == asio::error::access_denied)
    return "no permission to use " + path +
           " (it is for root, control.admins and the members of control.group)";
  return "cannot connect to " + path + ": " + error.message();
}

tl::expected<Answer::Kind, CallError> read_header(Connection& vmnatd) {
  const auto line = vmnatd.next_line();
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
  Connection vmnatd(patience);
  if (const error_code error = vmnatd.connect(socket_path))
    return failure(Kind::CannotConnect, why_not_connected(socket_path, error));
  if (const std::string why = vmnatd.distrust(socket_path); !why.empty())
    return failure(Kind::CannotConnect, "not asking on " + socket_path + ": " + why);
  // Whoever is refused at the door may find it closed, with the reason on the step: what there is to read says more.
  vmnatd.send(Json{{"command", command}, {"arguments", arguments}}.dump() + "\n");
  auto kind = read_header(vmnatd);
  if (!kind) return kind;
  while (const auto line = vmnatd.next_line()) {
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
