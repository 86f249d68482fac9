// SPDX-License-Identifier: Apache-2.0
// One accept loop, one Connection per client: read a line, answer it in pieces, read the next.
#include "control/admin/server.h"

#include <boost/asio.hpp>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/stat.h>

#include "control/system/unix_socket.h"

namespace vmnat::admin {
namespace {

namespace asio = boost::asio;
using asio::local::stream_protocol;
using boost::system::error_code;
using control::Error;
using control::Result;
struct Served {
  Access needed;
  Handler handler;
};
using Handlers = std::map<std::string, Served>;

constexpr std::size_t kPieceBytes = 64 * 1024;  // of an answer, written at once
constexpr std::chrono::milliseconds kTurn{2};   // of generating, before control's other work has its turn
constexpr std::chrono::milliseconds kStreamPause{5};    // until a stream is asked again for what has come
constexpr std::chrono::milliseconds kAcceptPause{100};  // after accept failed, e.g. for want of descriptors

std::string line_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}
const char* word_of(Answer::Kind kind) {
  switch (kind) {
    case Answer::Kind::Object:
      break;
    case Answer::Kind::List:
      return "list";
    case Answer::Kind::Stream:
      return "stream";
  }
  return "object";
}

void append_item(const Json& item, std::string& to) {
  if (!item.is_binary()) {
    to += line_of(item);
    return;
  }
  const Json::binary_t& bytes = item.get_binary();
  to += line_of({{"bytes", bytes.size()}});
  to.append(bytes.begin(), bytes.end());
}

std::string error_line(const std::string& what) {
  return line_of({{"ok", false}, {"error", what}});
}

struct Request {
  std::string command;
  Json arguments = Json::object();
};

Result<Request> parse_request(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded()) return tl::unexpected(Error{"", "the request is not JSON"});
  if (!json.is_object() || !json.contains("command") || !json["command"].is_string())
    return tl::unexpected(Error{"", "the request is not an object with a \"command\""});
  Request request{.command = json["command"]};
  if (json.contains("arguments")) request.arguments = json["arguments"];
  if (!request.arguments.is_object()) return tl::unexpected(Error{"", "\"arguments\" is not an object"});
  return request;
}

// Whoever is connected.
struct Caller {
  std::string name;
  Access access = Access::None;
};

Caller caller_of(int connection, const AccessRules& rules) {
  const auto peer = peer_of(connection);
  if (!peer) return {.name = "an unknown user"};
  return {.name = "user " + std::to_string(peer->user), .access = access_of(*peer, rules)};
}

Error refusal(const Caller& caller, const std::string& command) {
  return {"", "'" + command + "' is for root and control.admins; " + caller.name +
                  " may look, and change nothing"};
}

Result<Answer> call(const Handlers& handlers, const Caller& caller, const Request& request) {
  const auto served = handlers.find(request.command);
  if (served == handlers.end()) return tl::unexpected(Error{"", "unknown command '" + request.command + "'"});
  if (caller.access < served->second.needed) return tl::unexpected(refusal(caller, request.command));
  try {
    return served->second.handler(request.arguments);
  } catch (const std::exception& failure) {
    return tl::unexpected(Error{"", "command '" + request.command + "' failed: " + failure.what()});
  }
}

// The first byte that came, without taking it; 0: none can be had.
char first_byte(int socket) {
  char byte = 0;
  return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1 ? byte : '\0';
}

class Connection;
// What the connections of a server share; outlives them, as they hold it.
struct Shared {
  Handlers handlers;
  Takeover takeover;
  AccessRules rules;
  ServerLimits limits;
  std::set<std::shared_ptr<Connection>> connections;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(stream_protocol::socket socket, std::shared_ptr<Shared> shared)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        pause_(socket_.get_executor()),
        shared_(std::move(shared)),
        caller_(caller_of(socket_.native_handle(), shared_->rules)) {}

  [[nodiscard]] const Caller& caller() const { return caller_; }

  void begin() {
    close_after(shared_->limits.idle);
    socket_.async_wait(stream_protocol::socket::wait_read, [self = shared_from_this()](error_code error) {
      if (!self->socket_.is_open()) return;
      if (error) return self->close();
      const char first = first_byte(self->socket_.native_handle());
      const bool is_other = first >= 'A' && first <= 'Z' && self->shared_->takeover != nullptr;
      is_other ? self->hand_over() : self->read_request();
    });
  }

  void read_request() {
    close_after(shared_->limits.idle);
    const auto buffer = asio::dynamic_buffer(input_, shared_->limits.request_bytes);
    asio::async_read_until(socket_, buffer, '\n',
                           [self = shared_from_this()](error_code error, std::size_t length) {
                             self->take_request(error, length);
                           });
  }

  void refuse(const std::string& what) {
    output_ = error_line(what);
    write([this] { close(); });
  }

  void close() {
    error_code ignored;
    timer_.cancel(ignored);
    pause_.cancel(ignored);
    socket_.close(ignored);
    answer_.reset();
    shared_->connections.erase(shared_from_this());
  }

 private:
  void take_request(error_code error, std::size_t length) {
    if (!socket_.is_open()) return;
    if (error == asio::error::not_found)
      return refuse("the request is longer than " + std::to_string(shared_->limits.request_bytes) + " bytes");
    if (error == asio::error::eof && !input_.empty())
      return refuse("the request does not end with a newline");
    if (error) return close();
    const std::string line = input_.substr(0, length);
    input_.erase(0, length);
    start_answer(line);
  }

  void hand_over() {
    error_code error;
    const int socket = socket_.release(error);
    close();
    if (!error) shared_->takeover(socket, caller_.access);
  }

  void start_answer(const std::string& line) {
    auto answer = parse_request(line).and_then(
        [this](const Request& request) { return call(shared_->handlers, caller_, request); });
    if (!answer) {
      output_ = error_line(to_string(answer.error()));
      return write([this] { read_request(); });
    }
    answer_ = std::make_unique<Answer>(*std::move(answer));
    output_ = line_of({{"ok", true}, {"kind", word_of(answer_->kind())}});
    if (is_stream()) wait_for_end();
    continue_answer();
  }

  [[nodiscard]] bool is_stream() const { return answer_ && answer_->kind() == Answer::Kind::Stream; }

  // Of a stream: when its reader closes its side, or says anything.
  void wait_for_end() {
    socket_.async_read_some(asio::buffer(&after_request_, 1),
                            [self = shared_from_this()](error_code, std::size_t) {
                              if (self->socket_.is_open() && self->is_stream()) self->answer_->finish();
                            });
  }

  // Until there is something to say. A stream that says nothing for long says that it is alive.
  void continue_stream() {
    pause_.expires_after(kStreamPause);
    pause_.async_wait([self = shared_from_this()](error_code error) {
      if (error || !self->socket_.is_open()) return;
      if (std::chrono::steady_clock::now() >= self->last_word_ + self->shared_->limits.alive)
        self->output_ = line_of({{"alive", true}});
      self->continue_answer();
    });
  }

  // Generates one piece and sends it; comes back when it is sent.
  void continue_answer() {
    const bool more = generate_piece();
    if (!more) {
      const bool is_last = is_stream();
      answer_.reset();
      return write([this, is_last] { is_last ? close() : read_request(); });
    }
    if (!output_.empty()) return write([this] { continue_answer(); });
    if (is_stream()) return continue_stream();
    close_after(shared_->limits.stall);
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      if (self->socket_.is_open()) self->continue_answer();
    });
  }

  // Appends elements to output_ until the piece is full or the turn over. False when the answer is complete.
  bool generate_piece() try {
    const auto turn_ends = std::chrono::steady_clock::now() + kTurn;
    while (output_.size() < kPieceBytes) {
      Json item;
      const Pull pulled = answer_->next(item);
      if (pulled == Pull::Item) append_item(item, output_);
      const bool complete =
          pulled == Pull::End || (pulled == Pull::Item && answer_->kind() == Answer::Kind::Object);
      if (complete) {
        output_ += line_of({{"end", true}});
        return false;
      }
      if (pulled == Pull::Later || std::chrono::steady_clock::now() >= turn_ends) break;
    }
    return true;
  } catch (const std::exception& failure) {
    output_ += line_of({{"end", false}, {"error", std::string{"the answer broke off: "} + failure.what()}});
    return false;
  }

  template <typename Then>
  void write(Then then) {
    last_word_ = std::chrono::steady_clock::now();
    if (is_stream())
      timer_.expires_at(std::chrono::steady_clock::time_point::max());
    else
      close_after(shared_->limits.stall);
    asio::async_write(socket_, asio::buffer(output_),
                      [self = shared_from_this(), then](error_code error, std::size_t) {
                        if (!self->socket_.is_open()) return;
                        if (error) return self->close();
                        self->output_.clear();
                        then();
                      });
  }

  void close_after(std::chrono::milliseconds delay) {
    timer_.expires_after(delay);
    timer_.async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (!error && self && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->close();
    });
  }

  stream_protocol::socket socket_;
  asio::steady_timer timer_, pause_;
  std::shared_ptr<Shared> shared_;
  const Caller caller_;
  char after_request_ = 0;
  std::chrono::steady_clock::time_point last_word_;
  std::string input_, output_;
  std::unique_ptr<Answer> answer_;
};

class SocketServer : public Server {
 public:
  SocketServer(stream_protocol::acceptor acceptor, std::string path, AccessRules rules, ServerLimits limits)
      : acceptor_(std::move(acceptor)),
        pause_(acceptor_.get_executor()),
        path_(std::move(path)),
        shared_(std::make_shared<Shared>()) {
    shared_->rules = std::move(rules);
    shared_->limits = limits;
    struct stat status {};
    if (::stat(path_.c_str(), &status) == 0) inode_ = status.st_ino;
    accept_next();
  }

  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;
  ~SocketServer() override {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel(ignored);
    const auto connections = shared_->connections;  // a copy: close() removes from the original
    for (const auto& connection : connections) connection->close();
    struct stat status {};
    const bool still_ours = ::stat(path_.c_str(), &status) == 0 && status.st_ino == inode_;
    if (still_ours) ::unlink(path_.c_str());
  }

  void answer(const std::string& command, Access needed, Handler handler) override {
    shared_->handlers[command] = {needed, std::move(handler)};
  }
  [[nodiscard]] Result<Answer> ask(const std::string& command, Access access,
                                   const Json& arguments) override {
    return call(shared_->handlers, {.name = "whoever asks here", .access = access}, {command, arguments});
  }
  void hand_over_to(Takeover takeover) override { shared_->takeover = std::move(takeover); }
  [[nodiscard]] std::size_t clients() const override { return shared_->connections.size(); }

 private:
  void accept_next() {
    acceptor_.async_accept(
        [this, alive = std::weak_ptr(alive_)](error_code error, stream_protocol::socket socket) {
          if (alive.expired() || error == asio::error::operation_aborted) return;
          if (error) return accept_after_pause();
          welcome(std::move(socket));
          accept_next();
        });
  }

  void accept_after_pause() {
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this, alive = std::weak_ptr(alive_)](error_code error) {
      if (!alive.expired() && !error) accept_next();
    });
  }

  void welcome(stream_protocol::socket socket) {
    const bool full = shared_->connections.size() >= shared_->limits.clients;
    const auto connection = std::make_shared<Connection>(std::move(socket), shared_);
    // One more than the limit is told so; beyond that, closing the socket has to do.
    if (shared_->connections.size() > shared_->limits.clients) return;
    shared_->connections.insert(connection);
    if (connection->caller().access == Access::None)
      connection->refuse("this socket is for root, control.admins and the members of control.group; " +
                         connection->caller().name + " is none of them");
    else if (full)
      connection->refuse("too many clients");
    else
      connection->begin();
  }

  stream_protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  std::string path_;
  ino_t inode_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // completions may come after the destructor
  std::shared_ptr<Shared> shared_;
};

Result<void> make_parent_directory(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) return tl::unexpected(Error{parent, "cannot be created: " + error.message()});
  return {};
}

// Opens, binds and restricts the socket before it listens: nobody connects while its mode is still wide.
Result<stream_protocol::acceptor> open_socket(asio::io_context& context, const std::string& path,
                                              const AccessRules& rules) {
  stream_protocol::acceptor acceptor(context);
  error_code error;
  acceptor.open(stream_protocol(), error);
  if (!error) acceptor.bind(stream_protocol::endpoint(path), error);
  if (error) return tl::unexpected(Error{path, "the admin socket cannot be made: " + error.message()});
  auto restricted = restrict_socket(path, rules);
  if (restricted) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (restricted && !error) return acceptor;
  ::unlink(path.c_str());
  if (!restricted) return tl::unexpected(restricted.error());
  return tl::unexpected(Error{path, "the admin socket cannot be made: " + error.message()});
}

}  // namespace

Answer Answer::object(Json value) {
  return object_later([value = std::move(value)](Json& item) {
    item = value;
    return Pull::Item;
  });
}

Answer Answer::list_of(Json array) {
  return list([array = std::move(array), next = std::size_t{0}](Json& item) mutable {
    if (next == array.size()) return Pull::End;
    item = std::move(array[next++]);
    return Pull::Item;
  });
}

Result<std::unique_ptr<Server>> Server::listen(asio::io_context& context, const std::string& path,
                                               AccessRules rules, ServerLimits limits) {
  constexpr std::size_t kLongestPath = 107;
  if (path.size() > kLongestPath)
    return tl::unexpected(Error{path, "the path of a socket has at most 107 characters"});
  if (auto made = make_parent_directory(path); !made) return tl::unexpected(made.error());
  control::remove_foreign_socket(path);
  if (auto removed = control::remove_stale_socket(path); !removed) return tl::unexpected(removed.error());
  auto acceptor = open_socket(context, path, rules);
  if (!acceptor) return tl::unexpected(acceptor.error());
  return std::unique_ptr<Server>(
      std::make_unique<SocketServer>(*std::move(acceptor), path, std::move(rules), limits));
}

}  // namespace vmnat::admin
