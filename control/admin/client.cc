// SPDX-License-Identifier: Apache-2.0
// Asio's operations, each waited for: vmnatctl has nothing else to do meanwhile.
#include "control/admin/client.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>

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
  explicit Connection(std::chrono::milliseconds patience)
      : patience_(patience), socket_(context_), signals_(context_), output_(context_) {}

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
      searched_ = buffer_.size();
      if (!read_more()) return std::nullopt;
    }
  }

  // The next bytes, valid until the next call; nothing when the stream ends before or stalls.
  std::optional<std::string_view> next_bytes(std::size_t count) {
    while (buffer_.size() - start_ < count)
      if (!read_more()) return std::nullopt;
    const std::string_view bytes(buffer_.data() + start_, count);
    start_ = searched_ = start_ + count;
    return bytes;
  }

  // On a signal no more is asked for; on the second one nothing is waited for.
  void finish_on_signals() {
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    wait_for_signal();
  }

  // Once nobody reads what is written there, nothing is waited for either. Of a pipe; files have nobody.
  void end_with(int output) {
    error_code error;
    if (const int copy = ::dup(output); copy >= 0) output_.assign(copy, error);
    if (error || !output_.is_open()) return;
    output_.async_wait(asio::posix::stream_descriptor::wait_error, [this](error_code failed) {
      if (!failed) give_up();
    });
  }
  [[nodiscard]] bool was_given_up() const { return is_given_up_; }

 private:
  void wait_for_signal() {
    signals_.async_wait([this](error_code error, int) {
      if (error) return;
      if (std::exchange(is_finishing_, true)) return give_up();
      socket_.shutdown(stream_protocol::socket::shutdown_send, error);
      wait_for_signal();
    });
  }
  void give_up() {
    is_given_up_ = true;
    error_code ignored;
    socket_.close(ignored);
  }

  // Begins an operation and waits until it is done. One that takes too long is given up, and so is the
  // connection.
  template <typename Begin>
  error_code wait_for(Begin begin) {
    error_code result;
    bool is_done = false;
    begin([&, this](error_code error, std::size_t length) {
      is_done = true;
      result = error;
      length_ = length;
    });
    context_.restart();
    const auto deadline = std::chrono::steady_clock::now() + patience_;
    while (!is_done && context_.run_one_until(deadline) != 0) continue;
    if (is_done) return result;
    socket_.close();
    while (!is_done && context_.run_one() != 0) continue;
    return result;
  }

  bool read_more() {
    constexpr std::size_t kBlock = 65536;
    if (!socket_.is_open()) return false;
    buffer_.erase(0, start_);
    searched_ -= start_;
    start_ = 0;
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
  asio::signal_set signals_;
  asio::posix::stream_descriptor output_;
  bool is_finishing_ = false, is_given_up_ = false;
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

// As far as the header of the answer.
tl::expected<void, CallError> ask(Connection& vmnatd, const std::string& socket_path,
                                  const std::string& command, const Json& arguments) {
  if (const error_code error = vmnatd.connect(socket_path))
    return failure(Kind::CannotConnect, why_not_connected(socket_path, error));
  if (const std::string why = vmnatd.distrust(socket_path); !why.empty())
    return failure(Kind::CannotConnect, "not asking on " + socket_path + ": " + why);
  // Whoever is refused at the door may find it closed, with the reason on the step: what there is to read says more.
  vmnatd.send(Json{{"command", command}, {"arguments", arguments}}.dump() + "\n");
  return {};
}

// Of {"end":...}: whether all is said.
tl::expected<void, CallError> judge_end(std::string_view line) {
  const Json end = Json::parse(line, nullptr, false);
  if (end.is_object() && end["end"] == true) return {};
  return failure(Kind::BrokenOff,
                 end.is_object() ? end.value("error", "no reason given") : "the answer is garbled");
}

// A line of a stream that announces bytes.
constexpr std::string_view kBytes = R"({"bytes":)";
constexpr std::size_t kMostBytes = 16 << 20;
std::optional<std::size_t> announced_bytes(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json["bytes"].is_number_unsigned() || json["bytes"] > kMostBytes)
    return std::nullopt;
  return json["bytes"].get<std::size_t>();
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
  if (auto asked = ask(vmnatd, socket_path, command, arguments); !asked) return tl::unexpected(asked.error());
  auto kind = read_header(vmnatd);
  if (!kind) return kind;
  while (const auto line = vmnatd.next_line()) {
    if (!line->starts_with(R"({"end":)")) {
      on_element(*kind, *line);
      continue;
    }
    if (auto whole = judge_end(*line); !whole) return tl::unexpected(whole.error());
    return kind;
  }
  return failure(Kind::BrokenOff, "vmnatd closed the connection in the middle of its answer");
}

tl::expected<void, CallError> follow(const std::string& socket_path, const std::string& command,
                                     const Json& arguments, const StreamReader& reader,
                                     std::chrono::milliseconds patience) {
  Connection vmnatd(patience);
  if (auto asked = ask(vmnatd, socket_path, command, arguments); !asked) return asked;
  if (auto kind = read_header(vmnatd); !kind) return tl::unexpected(kind.error());
  vmnatd.finish_on_signals();
  if (reader.output >= 0) vmnatd.end_with(reader.output);
  while (const auto line = vmnatd.next_line()) {
    if (line->starts_with(R"({"end":)")) return judge_end(*line);
    if (line->starts_with(R"({"alive":)")) continue;
    if (!line->starts_with(kBytes)) {
      if (!reader.on_element(*line)) return {};
      continue;
    }
    const auto size = announced_bytes(*line);
    const auto bytes = size ? vmnatd.next_bytes(*size) : std::nullopt;
    if (!bytes) break;
    if (!reader.on_bytes(*bytes)) return {};
  }
  if (vmnatd.was_given_up()) return {};
  return failure(Kind::BrokenOff, "vmnatd closed the connection in the middle of its answer");
}

}  // namespace vmnat::admin
