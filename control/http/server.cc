// SPDX-License-Identifier: Apache-2.0
// Beast reads requests. An answer's head is Beast's, too; its body is written piece by piece, as it is made.
#include "control/http/server.h"

#include <algorithm>
#include <boost/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <ctime>
#include <fmt/format.h>
#include <list>
#include <sstream>
#include <unistd.h>

namespace vmnat::http {
namespace {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using control::Error;
using control::Result;
using Clock = std::chrono::steady_clock;
using Socket = asio::generic::stream_protocol::socket;
using Parser = beast_http::request_parser<beast_http::string_body>;

constexpr std::size_t kPieceBytes = 64 * 1024;          // of an answer, written at once
constexpr std::chrono::milliseconds kTurn{2};           // of making it
constexpr std::chrono::milliseconds kAcceptPause{100};  // after accept failed, e.g. for want of descriptors

class Connection;
// What the connections of a server share; outlives them, as they hold it.
struct Shared {
  Site site;
  ServerLimits limits;
  std::string token;
  std::string own_name;
  std::list<std::shared_ptr<Connection>> connections;  // who has been waited for longest comes first
  Clock::time_point next_turn{};
  std::chrono::nanoseconds spent{};
  std::uint64_t requests = 0;
};

// Of this thread.
std::chrono::nanoseconds cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}
struct Turn {
  Clock::time_point begin = Clock::now();
  std::chrono::nanoseconds cpu = cpu_time();
};

// Over TCP: the address that is listened on. Else what the peer may do.
struct Peer {
  std::optional<net::Ipv4Addr> listens;
  admin::Access access = admin::Access::Look;
};

Method method_of(beast_http::verb verb) {
  switch (verb) {
    case beast_http::verb::get:
      return Method::Get;
    case beast_http::verb::head:
      return Method::Head;
    case beast_http::verb::post:
      return Method::Post;
    default:
      return Method::Other;
  }
}

std::string text_of(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, Peer peer, std::shared_ptr<Shared> shared)
      : socket_(std::move(socket)),
        deadline_(socket_.get_executor()),
        turn_(socket_.get_executor()),
        peer_(peer),
        shared_(std::move(shared)) {}

  // Whether it has nothing to do but to wait for its client.
  [[nodiscard]] bool is_waiting() const { return is_waiting_; }

  void wait_for_request() {
    is_waiting_ = true;
    if (input_.size() > 0) return read_request();
    close_after(shared_->limits.idle);
    socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code error) {
      if (!self->socket_.is_open()) return;
      if (error) return self->close();
      self->read_request();
    });
  }

  // Where it came in is listened on no more: it ends, once it has been answered.
  void retire() {
    if (!peer_.listens) return;
    keep_alive_ = false;
    if (is_waiting_) close();
  }

  // Answers nothing but this.
  void refuse(unsigned status, const std::string& what) {
    method_ = Method::Get;
    version_ = 11;
    keep_alive_ = false;
    start_answer(Site::error(status, what));
  }

  void close() {
    error_code ignored;
    deadline_.cancel(ignored);
    turn_.cancel(ignored);
    socket_.close(ignored);
    body_ = nullptr;
    std::erase(shared_->connections, shared_from_this());
  }

 private:
  void read_request() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_->limits.header_bytes));
    parser_->body_limit(shared_->limits.body_bytes);
    close_after(shared_->limits.request);
    beast_http::async_read(socket_, input_, *parser_,
                           [self = shared_from_this()](error_code error, std::size_t) {
                             if (self->socket_.is_open()) self->take_request(error);
                           });
  }

  void take_request(error_code error) {
    if (error == beast_http::error::header_limit || error == beast_http::error::buffer_overflow)
      return refuse(431,
                    fmt::format("the head of a request has at most {} bytes", shared_->limits.header_bytes));
    if (error == beast_http::error::body_limit)
      return refuse(413,
                    fmt::format("the body of a request has at most {} bytes", shared_->limits.body_bytes));
    if (error == beast_http::error::end_of_stream || error == beast_http::error::partial_message)
      return close();
    if (error && error.category() == beast_http::make_error_code(beast_http::error::bad_method).category())
      return refuse(400, "this is no HTTP request: " + error.message());
    if (error) return close();
    answer(parser_->get());
  }

  void answer(const beast_http::request<beast_http::string_body>& message) {
    ++shared_->requests;
    is_waiting_ = false;
    method_ = method_of(message.method());
    version_ = message.version();
    keep_alive_ = message.keep_alive();
    if (auto problem = problem_of_host(message)) {
      keep_alive_ = false;
      return start_answer(*std::move(problem));
    }
    Request request{.method = method_,
                    .target = text_of(message.target()),
                    .accept = text_of(message[beast_http::field::accept]),
                    .body = message.body(),
                    .access = peer_.access};
    if (bears_token(text_of(message[beast_http::field::authorization]), shared_->token))
      request.access = admin::Access::Change;
    start_answer(answer_of_site(request));
  }

  // The time of the site is a turn, too: commands make short answers at once.
  Response answer_of_site(const Request& request) try {
    const Turn turn;
    Response response = shared_->site.answer(request);
    end_turn(turn);
    return response;
  } catch (const std::exception& failure) {
    return Site::error(500, failure.what());
  }

  // RFC 9112 section 3.2: one Host field, and it has to be ours.
  [[nodiscard]] std::optional<Response> problem_of_host(
      const beast_http::request<beast_http::string_body>& message) const {
    const auto hosts = message.count(beast_http::field::host);
    if (hosts > 1 || (hosts == 0 && message.version() >= 11))
      return Site::error(400, "a request names one Host");
    if (!peer_.listens || hosts == 0) return std::nullopt;
    const std::string host = text_of(message[beast_http::field::host]);
    if (is_own_host(host, *peer_.listens, shared_->own_name)) return std::nullopt;
    return Site::error(421, "this server is not '" + host + "': name it by its address");
  }

  void start_answer(Response response) {
    is_waiting_ = false;
    close_after(shared_->limits.stall);
    response_ = std::move(response);
    body_ = std::move(response_.body);
    is_head_written_ = false;
    piece_.clear();
    continue_answer();
  }

  // Makes one piece and sends it, when it is its turn; comes back when it is sent.
  void continue_answer() {
    if (Clock::now() < shared_->next_turn) {
      turn_.expires_at(shared_->next_turn);
      turn_.async_wait([self = shared_from_this()](error_code error) {
        if (!error && self->socket_.is_open()) self->continue_answer();
      });
      return;
    }
    const Turn turn;
    const auto made = make_piece();
    end_turn(turn);
    if (!made) return close();
    write_piece(*made == admin::Pull::End);
  }

  // Until it is full, the turn is over, or nothing follows. Nothing: it broke off, and the client is to see that.
  std::optional<admin::Pull> make_piece() try {
    const auto ends = Clock::now() + kTurn;
    auto pulled = admin::Pull::Item;
    while (pulled == admin::Pull::Item && piece_.size() < kPieceBytes && Clock::now() < ends)
      pulled = body_(piece_);
    return pulled;
  } catch (const std::exception&) {
    return std::nullopt;
  }

  void end_turn(const Turn& turn) {
    const auto end = Clock::now();
    shared_->spent += cpu_time() - turn.cpu;
    shared_->next_turn = end + (end - turn.begin);
  }

  void write_piece(bool is_last) {
    const bool is_whole = is_last && !is_head_written_;
    const bool is_chunked = !is_whole && version_ >= 11;
    output_.clear();
    if (!std::exchange(is_head_written_, true)) output_ = head(is_whole);
    if (method_ == Method::Head)
      is_last = true;
    else if (is_chunked)
      add_chunk(is_last);
    else
      output_ += piece_;
    piece_.clear();
    if (output_.empty()) return wait_for_more();
    close_after(shared_->limits.stall);
    asio::async_write(socket_, asio::buffer(output_),
                      [self = shared_from_this(), is_last](error_code error, std::size_t) {
                        if (!self->socket_.is_open()) return;
                        if (error) return self->close();
                        is_last ? self->end_answer() : self->continue_answer();
                      });
  }

  void wait_for_more() {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      if (self->socket_.is_open()) self->continue_answer();
    });
  }

  void add_chunk(bool is_last) {
    if (!piece_.empty()) output_ += fmt::format("{:x}\r\n", piece_.size()) + piece_ + "\r\n";
    if (is_last) output_ += "0\r\n\r\n";
  }

  // No other site may read an answer (there is no CORS), nor show it in a frame.
  std::string head(bool is_whole) {
    beast_http::response<beast_http::empty_body> message;
    message.version(version_);
    message.result(response_.status);
    message.set(beast_http::field::server, "vmnat");
    message.set(beast_http::field::content_type, response_.type);
    message.set(beast_http::field::cache_control, "no-store");
    message.set("X-Content-Type-Options", "nosniff");
    message.set("X-Frame-Options", "DENY");
    message.set("Referrer-Policy", "no-referrer");
    message.set("Content-Security-Policy", response_.policy);
    if (!response_.allow.empty()) message.set(beast_http::field::allow, response_.allow);
    if (is_whole)
      message.content_length(piece_.size());
    else if (version_ >= 11)
      message.chunked(true);
    else
      keep_alive_ = false;  // its end is the connection's
    message.keep_alive(keep_alive_);
    std::ostringstream text;
    text << message.base();
    return text.str();
  }

  void end_answer() {
    body_ = nullptr;
    if (keep_alive_) {
      // To the end of the queue: it has been waited for since now.
      auto& all = shared_->connections;
      const auto own = std::ranges::find(all, shared_from_this());
      if (own != all.end()) all.splice(all.end(), all, own);
      return wait_for_request();
    }
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    drain();
  }

  // A close with unread bytes is a reset, and might overtake the answer: what still comes is read for a moment.
  void drain() {
    is_waiting_ = true;
    constexpr std::chrono::milliseconds kLingering{500};
    if (!is_lingering_) close_after(kLingering);
    is_lingering_ = true;
    output_.resize(4096);
    socket_.async_read_some(asio::buffer(output_),
                            [self = shared_from_this()](error_code error, std::size_t) {
                              if (!self->socket_.is_open()) return;
                              error ? self->close() : self->drain();
                            });
  }

  void close_after(std::chrono::milliseconds delay) {
    deadline_.expires_after(delay);
    deadline_.async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (!error && self && self->deadline_.expiry() <= Clock::now()) self->close();
    });
  }

  Socket socket_;
  asio::steady_timer deadline_, turn_;
  const Peer peer_;
  std::shared_ptr<Shared> shared_;
  boost::beast::flat_buffer input_;
  std::optional<Parser> parser_;
  Method method_ = Method::Get;
  unsigned version_ = 11;
  bool is_waiting_ = true, is_lingering_ = false, keep_alive_ = false, is_head_written_ = false;
  Response response_;
  Body body_;
  std::string piece_, output_;
};

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

class SocketServer : public Server {
 public:
  SocketServer(asio::io_context& context, Site site, ServerLimits limits)
      : context_(context),
        acceptor_(context),
        pause_(context),
        shared_(std::make_shared<Shared>(
            Shared{.site = std::move(site), .limits = limits, .own_name = host_name()})) {}
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;
  ~SocketServer() override {
    stop_listening();
    const auto connections = shared_->connections;
    for (const auto& connection : connections) connection->close();
  }

  Result<void> listen(const std::optional<net::Endpoint>& at) override {
    if (at == listens_) return {};
    // Of the same port, that we listen on is what keeps us from it.
    const auto before = listens_;
    const bool is_in_the_way = at && before && at->port == before->port;
    std::optional<tcp::acceptor> fresh;
    if (is_in_the_way) stop_listening();
    if (at) {
      auto opened = open(*at);
      if (!opened && is_in_the_way) restore(*before);
      if (!opened) return tl::unexpected(opened.error());
      fresh = *std::move(opened);
    }
    stop_listening();
    if (fresh) start_listening(*std::move(fresh), *at);
    return {};
  }

  [[nodiscard]] std::optional<net::Endpoint> listens() const override { return listens_; }

  void adopt(int socket, admin::Access access) override {
    error_code error;
    Socket adopted(context_);
    adopted.assign(asio::generic::stream_protocol(AF_UNIX, 0), socket, error);
    if (error) {
      ::close(socket);
      return;
    }
    welcome(std::move(adopted), {.listens = std::nullopt, .access = access});
  }

  void set_token(std::string token) override { shared_->token = std::move(token); }
  [[nodiscard]] std::size_t connections() const override { return shared_->connections.size(); }
  [[nodiscard]] std::uint64_t requests() const override { return shared_->requests; }
  [[nodiscard]] std::chrono::nanoseconds time_spent() const override { return shared_->spent; }

 private:
  Result<tcp::acceptor> open(const net::Endpoint& at) {
    const tcp::endpoint endpoint(asio::ip::address_v4(at.address.host()), at.port.host());
    tcp::acceptor acceptor(context_);
    error_code error;
    acceptor.open(tcp::v4(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error) return acceptor;
    return tl::unexpected(
        Error{"control.metrics", net::to_string(at) + " cannot be listened on: " + error.message()});
  }

  void start_listening(tcp::acceptor acceptor, const net::Endpoint& at) {
    acceptor_ = std::move(acceptor);
    listens_ = at;
    accept_next();
  }
  void restore(const net::Endpoint& before) {
    if (auto opened = open(before)) start_listening(*std::move(opened), before);
  }
  void stop_listening() {
    error_code ignored;
    alive_ = std::make_shared<bool>(true);
    acceptor_.close(ignored);
    pause_.cancel(ignored);
    listens_.reset();
    const auto connections = shared_->connections;  // a copy: retire() may remove from the original
    for (const auto& connection : connections) connection->retire();
  }

  void accept_next() {
    acceptor_.async_accept([this, alive = std::weak_ptr(alive_)](error_code error, tcp::socket socket) {
      if (alive.expired() || error == asio::error::operation_aborted) return;
      if (error) return accept_after_pause();
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      welcome(Socket(std::move(socket)), {.listens = listens_->address});
      accept_next();
    });
  }
  void accept_after_pause() {
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this, alive = std::weak_ptr(alive_)](error_code error) {
      if (!alive.expired() && !error) accept_next();
    });
  }

  // One more than there may be takes the place of the one that has been waited for longest. If all are being
  // answered, one more is told so; beyond that, closing the socket has to do.
  void welcome(Socket socket, Peer peer) {
    auto& all = shared_->connections;
    if (all.size() >= shared_->limits.connections)
      if (const auto waiting =
              std::ranges::find_if(all, &Connection::is_waiting, &std::shared_ptr<Connection>::operator*);
          waiting != all.end())
        std::shared_ptr<Connection>(*waiting)->close();
    if (all.size() > shared_->limits.connections) return;
    const bool is_full = all.size() == shared_->limits.connections;
    const auto connection = std::make_shared<Connection>(std::move(socket), peer, shared_);
    all.push_back(connection);
    is_full ? connection->refuse(503, "too many clients") : connection->wait_for_request();
  }

  asio::io_context& context_;
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  std::optional<net::Endpoint> listens_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // completions may come after the destructor
  std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<Server> Server::create(asio::io_context& context, Site site, ServerLimits limits) {
  return std::make_unique<SocketServer>(context, std::move(site), limits);
}

}  // namespace vmnat::http
