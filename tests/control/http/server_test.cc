// SPDX-License-Identifier: Apache-2.0
// The server over real sockets: what it answers, and what it bears.
#include "control/http/server.h"

#include <arpa/inet.h>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "tests/support/thread_of.h"

namespace vmnat::http {
namespace {

using namespace std::chrono_literals;
using admin::Access;
using admin::Answer;
using admin::Json;
using admin::Pull;

class Client {
 public:
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    is_connected_ =
        ::connect(fd_, static_cast<const sockaddr*>(static_cast<const void*>(&to)), sizeof to) == 0;
  }
  explicit Client(int fd, bool) : fd_(fd), is_connected_(true) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { ::close(fd_); }

  [[nodiscard]] bool is_connected() const { return is_connected_; }
  bool send(std::string_view text) const {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Until the other side closes, or so many bytes.
  std::string receive(std::size_t most = SIZE_MAX) const {
    std::string all;
    char bytes[65536];
    while (all.size() < most) {
      const ssize_t got = ::recv(fd_, bytes, std::min(sizeof bytes, most - all.size()), 0);
      if (got <= 0) break;
      all.append(bytes, static_cast<std::size_t>(got));
    }
    return all;
  }
  std::string ask(std::string_view text) const { return send(text) ? receive() : ""; }

 private:
  int fd_;
  bool is_connected_ = false;
};

std::string get(std::string_view target, std::string_view more = "") {
  return "GET " + std::string{target} + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" +
         std::string{more} + "\r\n";
}
std::string status_line(const std::string& answer) {
  return answer.substr(0, answer.find("\r\n"));
}
std::string body(const std::string& answer) {
  return answer.substr(answer.find("\r\n\r\n") + 4);
}
// A chunked body, whole; empty if its last chunk is missing.
std::string unchunked(std::string_view text) {
  std::string all;
  for (;;) {
    const auto end = text.find("\r\n");
    if (end == std::string_view::npos) return "";
    const std::size_t size = std::stoul(std::string{text.substr(0, end)}, nullptr, 16);
    if (size == 0) return text.substr(end) == "\r\n\r\n" ? all : "";
    all += text.substr(end + 2, size);
    text.remove_prefix(end + 2 + size + 2);
  }
}

// On a thread of its own, on a port that was free.
class HttpServer : public testing::Test {
 protected:
  void start(ServerLimits limits = {}) {
    const Site site(
        [this](const std::string& command, Access, const Json&) -> control::Result<Answer> {
          if (command == "leases") throw std::runtime_error("no leases today");
          if (command == "neighbors")
            return Answer::list([](Json&) -> Pull { throw std::runtime_error("in the middle"); });
          if (command != "sessions") return Answer::object({{"command", command}});
          return Answer::list([this, left = sessions_](Json& item) mutable {
            if (left == 0) return Pull::End;
            item = {{"number", left--}, {"text", std::string(100, 'x')}};
            return Pull::Item;
          });
        },
        [](Exposition) { return whole("vmnat_up 1\n"); });
    server_ = Server::create(context_, site, limits);
    for (std::uint16_t port = 20000; port < 60000 && port_ == 0; ++port)
      if (server_->listen(loopback(port))) port_ = port;
    ASSERT_NE(port_, 0);
    thread_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(context_);
      context_.run();
    });
  }
  void TearDown() override {
    on_its_thread([this] { server_.reset(); });
    context_.stop();
    thread_.join();
  }
  template <typename Work>
  void on_its_thread(Work work) {
    on_thread_of(context_, work);
  }
  std::size_t connections() {
    std::size_t count = 0;
    on_its_thread([&] { count = server_->connections(); });
    return count;
  }
  [[nodiscard]] std::string ask(std::string_view text) const { return Client(port_).ask(text); }
  static net::Endpoint loopback(std::uint16_t port) {
    return {*net::parse_ipv4("127.0.0.1"), net::L4Port::from_host(port)};
  }

  std::uint64_t sessions_ = 3;
  std::uint16_t port_ = 0;
  boost::asio::io_context context_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

TEST_F(HttpServer, AnswersAShortBodyWithItsLength) {
  start();
  const std::string answer = ask(get("/metrics"));
  EXPECT_EQ(status_line(answer), "HTTP/1.1 200 OK");
  EXPECT_NE(answer.find("Content-Length: 11\r\n"), answer.npos) << answer;
  EXPECT_EQ(answer.find("Access-Control-"), answer.npos);
  EXPECT_EQ(body(answer), "vmnat_up 1\n");
}

TEST_F(HttpServer, TellsBrowsersWhatTheyMayLoadAndSetsNoCookie) {
  start();
  const std::string page = ask(get("/")), nothing = ask(get("/nothing"));
  EXPECT_NE(page.find("Content-Security-Policy: default-src 'none'; script-src 'self'; "), page.npos) << page;
  EXPECT_NE(page.find("X-Frame-Options: DENY\r\n"), page.npos);
  EXPECT_NE(nothing.find("Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"),
            nothing.npos);
  EXPECT_EQ(page.find("Set-Cookie"), page.npos);
}

TEST_F(HttpServer, AnswersHeadWithoutABody) {
  start();
  const std::string answer = ask("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status_line(answer), "HTTP/1.1 200 OK");
  EXPECT_NE(answer.find("Content-Length: 11\r\n"), answer.npos);
  EXPECT_EQ(body(answer), "");
}

TEST_F(HttpServer, AnswersALongListInChunks) {
  sessions_ = 20000;
  start();
  const std::string answer = ask(get("/api/sessions"));
  EXPECT_NE(answer.find("Transfer-Encoding: chunked\r\n"), answer.npos);
  const Json list = Json::parse(unchunked(body(answer)));
  ASSERT_EQ(list.size(), sessions_);
  EXPECT_EQ(list.back()["number"], 1);
}

TEST_F(HttpServer, EndsALongListOfAnOldClientWithTheConnection) {
  sessions_ = 20000;
  start();
  const std::string answer = ask("GET /api/sessions HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.find("Transfer-Encoding"), answer.npos);
  EXPECT_EQ(Json::parse(body(answer)).size(), sessions_);
}

TEST_F(HttpServer, AnswersRequestsOfAConnectionOneAfterAnother) {
  start();
  const std::string two = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/api/status");
  const std::string answers = ask(two);
  EXPECT_EQ(answers.find("vmnat_up 1"), answers.rfind("vmnat_up 1"));
  EXPECT_NE(answers.find("{\"command\":\"status\"}"), answers.npos);
}

TEST_F(HttpServer, TellsWhatIsWrongWithARequest) {
  start();
  const struct {
    std::string says, request;
    unsigned status;
  } kCases[] = {
      {"garbage", "\x16\x03\x01\x02garbage\r\n\r\n", 400},
      {"no version", "GET /\r\n\r\n", 400},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
      {"a name that was led here",
       "GET /api/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421},
      {"a long head", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(10'000, 'x') + "\r\n\r\n",
       431},
      {"a long body", "POST /api/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n", 413},
      {"a change",
       "POST /api/flush HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 403},
      {"a method", "DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405},
      {"no such path", get("/nothing"), 404},
      {"a command that fails", get("/api/leases"), 500},
  };
  for (const auto& [says, request, status] : kCases)
    EXPECT_EQ(status_line(ask(request)).substr(0, 12), "HTTP/1.1 " + std::to_string(status)) << says;
}

TEST_F(HttpServer, LetsAnAnswerThatBreaksOffLookSo) {
  start();
  EXPECT_EQ(ask(get("/api/neighbors")), "");
}

TEST_F(HttpServer, AnswersNewcomersWhateverIdleOnesHold) {
  start({.connections = 8});
  std::vector<std::unique_ptr<Client>> idle;
  for (int i = 0; i < 50; ++i) {
    idle.push_back(std::make_unique<Client>(port_));
    if (i % 2 == 0) idle.back()->send("GET / HTTP/1.1\r\nX-Slow: ");
  }
  EXPECT_EQ(body(ask(get("/metrics"))), "vmnat_up 1\n");
  EXPECT_LE(connections(), 9u);
}

TEST_F(HttpServer, EndsRequestsThatTakeTooLong) {
  start({.request = 100ms});
  Client slow(port_);
  slow.send("GET / HTTP/1.1\r\n");
  EXPECT_EQ(slow.receive(), "");
}

TEST_F(HttpServer, EndsConnectionsThatAskNothing) {
  start({.idle = 100ms});
  EXPECT_EQ(Client(port_).receive(), "");
}

TEST_F(HttpServer, EndsAnswersThatNobodyReads) {
  sessions_ = 1'000'000'000;
  start({.stall = 200ms});
  Client stuck(port_);
  stuck.send(get("/api/sessions"));
  EXPECT_NE(stuck.receive(1000), "");
  for (int i = 0; i < 200 && connections() != 0; ++i) std::this_thread::sleep_for(50ms);
  EXPECT_EQ(connections(), 0u);
}

TEST_F(HttpServer, GoesOnBesideAnEndlessAnswer) {
  sessions_ = 1'000'000'000;
  start();
  Client greedy(port_);
  greedy.send(get("/api/sessions"));
  std::thread reader([&] { greedy.receive(50'000'000); });
  for (int i = 0; i < 20; ++i) EXPECT_EQ(body(ask(get("/metrics"))), "vmnat_up 1\n");
  reader.join();
}

TEST_F(HttpServer, MovesToAnotherAddressAndAway) {
  start();
  const Client former(port_);
  const std::uint16_t other = port_ + 1;
  on_its_thread([&] { EXPECT_TRUE(server_->listen(loopback(other))); });
  EXPECT_EQ(former.receive(), "");
  EXPECT_FALSE(Client(port_).is_connected());
  EXPECT_EQ(body(Client(other).ask(get("/metrics"))), "vmnat_up 1\n");
  // All addresses, on the same port.
  on_its_thread([&] {
    EXPECT_TRUE(server_->listen(net::Endpoint{net::Ipv4Addr{}, net::L4Port::from_host(other)}));
  });
  EXPECT_EQ(body(Client(other).ask(get("/metrics"))), "vmnat_up 1\n");
  on_its_thread([&] { EXPECT_TRUE(server_->listen(std::nullopt)); });
  EXPECT_FALSE(Client(other).is_connected());
}

TEST_F(HttpServer, StaysWhereItIsIfAnAddressCannotBeHad) {
  start();
  const auto other = Server::create(context_, Site({}, {}));
  std::string why;
  on_its_thread([&] {
    const auto listens = other->listen(loopback(port_));
    ASSERT_FALSE(listens);
    why = to_string(listens.error());
    const net::Endpoint foreign{*net::parse_ipv4("192.0.2.1"), net::L4Port::from_host(port_)};
    EXPECT_FALSE(server_->listen(foreign));
    EXPECT_EQ(server_->listens(), loopback(port_));
  });
  EXPECT_EQ(why, "control.metrics: 127.0.0.1:" + std::to_string(port_) +
                     " cannot be listened on: Address already in use");
  EXPECT_EQ(body(ask(get("/metrics"))), "vmnat_up 1\n");
}

TEST_F(HttpServer, LetsWhoComesOverTheAdminSocketDoWhatTheyMayThere) {
  start();
  for (const auto& [access, status] : {std::pair{Access::Look, "403"}, {Access::Change, "200"}}) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    on_its_thread([&, access = access] { server_->adopt(ends[0], access); });
    const Client client(ends[1], true);
    const std::string answer = client.ask(
        "POST /api/flush HTTP/1.1\r\nHost: anything\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
    EXPECT_EQ(status_line(answer).substr(9, 3), status) << answer;
  }
}

TEST_F(HttpServer, LetsWhoBearsTheTokenChange) {
  start();
  on_its_thread([&] { server_->set_token("s3cret"); });
  const auto flush = [&](const std::string& token) {
    return status_line(
        ask("POST /api/flush HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " +
            token + "\r\nContent-Length: 0\r\n\r\n"));
  };
  EXPECT_EQ(flush("s3cret"), "HTTP/1.1 200 OK");
  EXPECT_EQ(flush("guess"), "HTTP/1.1 403 Forbidden");
}

}  // namespace
}  // namespace vmnat::http
