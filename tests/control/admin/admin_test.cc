// SPDX-License-Identifier: Apache-2.0
// The admin server through real sockets: well-behaved clients, and all the others.
#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include "control/admin/client.h"
#include "control/admin/session_filter.h"
#include "tests/support/admin_fixture.h"

namespace vmnat::admin {
namespace {

using namespace std::chrono_literals;

Handler echo() {
  return [](const Json& arguments) { return Answer::object(arguments); };
}

// A client that may do as it likes.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const timeval deadline{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  void finish_sending() { ::shutdown(fd_, SHUT_WR); }
  // The next line with its newline; what there was when the stream ends.
  std::string line() {
    char block[65536];
    while (buffer_.find('\n') == buffer_.npos) {
      const ssize_t length = ::recv(fd_, block, sizeof block, 0);
      if (length <= 0) return std::exchange(buffer_, {});
      buffer_.append(block, static_cast<std::size_t>(length));
    }
    const std::string text = buffer_.substr(0, buffer_.find('\n') + 1);
    buffer_.erase(0, text.size());
    return text;
  }
  std::string lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += line();
    return text;
  }
  // Everything up to the end of the stream.
  std::string rest() {
    std::string text = std::exchange(buffer_, {});
    char block[65536];
    for (ssize_t length = 0; (length = ::recv(fd_, block, sizeof block, 0)) > 0;)
      text.append(block, static_cast<std::size_t>(length));
    return text;
  }

 private:
  int fd_;
  std::string buffer_;
  bool connected_ = false;
};

struct AdminTest : testing::Test {
  TempDir dir;
  const std::string path = dir / "vmnat.sock";

  std::string answer_to(const std::string& bytes) {
    RawClient client(path);
    client.send(bytes);
    client.finish_sending();
    return client.rest();
  }
};

using AdminServer = AdminTest;
using AdminSocket = AdminTest;
using AdminClient = AdminTest;

TEST_F(AdminServer, AnswersAnObjectInThreeLines) {
  RunningServer server(path);
  server.answer("echo", echo());
  EXPECT_EQ(answer_to("{\"command\":\"echo\",\"arguments\":{\"a\":1}}\n"),
            "{\"kind\":\"object\",\"ok\":true}\n{\"a\":1}\n{\"end\":true}\n");
  EXPECT_EQ(answer_to("{\"command\":\"echo\"}\n"), "{\"kind\":\"object\",\"ok\":true}\n{}\n{\"end\":true}\n");
}

TEST_F(AdminServer, AnswersAListWithOneLineForEachElement) {
  RunningServer server(path);
  server.answer("list", [](const Json&) { return Answer::list_of(Json::parse(R"([{"n":1},{"n":2}])")); });
  server.answer("none", [](const Json&) { return Answer::list_of(Json::array()); });
  EXPECT_EQ(answer_to("{\"command\":\"list\"}\n"),
            "{\"kind\":\"list\",\"ok\":true}\n{\"n\":1}\n{\"n\":2}\n{\"end\":true}\n");
  EXPECT_EQ(answer_to("{\"command\":\"none\"}\n"), "{\"kind\":\"list\",\"ok\":true}\n{\"end\":true}\n");
}

TEST_F(AdminServer, AnswersRequestsThatFollowOneAnother) {
  RunningServer server(path);
  server.answer("echo", echo());
  RawClient client(path);
  for (int i = 0; i < 3; ++i) {
    client.send("{\"command\":\"echo\"}\n");
    EXPECT_EQ(client.lines(3), "{\"kind\":\"object\",\"ok\":true}\n{}\n{\"end\":true}\n");
  }
  client.send("{\"command\":\"echo\"}\n{\"command\":\"echo\"}\n");
  client.finish_sending();
  EXPECT_EQ(client.rest().size(), 2 * std::strlen("{\"kind\":\"object\",\"ok\":true}\n{}\n{\"end\":true}\n"));
}

TEST_F(AdminServer, SaysWhatIsWrongWithARequest) {
  RunningServer server(path, {.request_bytes = 100});
  const std::pair<std::string, std::string> rows[] = {
      {"hello\n", "the request is not JSON"},
      {"\n", "the request is not JSON"},
      {"[]\n", "the request is not an object with a \\\"command\\\""},
      {"{\"command\":1}\n", "the request is not an object with a \\\"command\\\""},
      {"{\"command\":\"x\",\"arguments\":[]}\n", "\\\"arguments\\\" is not an object"},
      {"{\"command\":\"x\"}\n", "unknown command 'x'"},
      {"{\"command\":\"x\"}", "the request does not end with a newline"},
      {std::string(101, ' '), "the request is longer than 100 bytes"},
  };
  for (const auto& [request, error] : rows)
    EXPECT_EQ(answer_to(request), "{\"error\":\"" + error + "\",\"ok\":false}\n") << request;
}

TEST_F(AdminServer, TurnsFailuresOfHandlersIntoErrors) {
  RunningServer server(path);
  server.answer("refuse", [](const Json&) -> control::Result<Answer> {
    return tl::unexpected(control::Error{"vm9", "there is no such port"});
  });
  server.answer("throw", [](const Json& arguments) { return Answer::object(arguments.at("missing")); });
  server.answer("break", [](const Json&) {
    return Answer::list([](Json&) -> Pull { throw std::runtime_error("table is gone"); });
  });
  EXPECT_EQ(answer_to("{\"command\":\"refuse\"}\n"),
            "{\"error\":\"vm9: there is no such port\",\"ok\":false}\n");
  EXPECT_NE(answer_to("{\"command\":\"throw\"}\n").find("command 'throw' failed: "), std::string::npos);
  EXPECT_EQ(
      answer_to("{\"command\":\"break\"}\n"),
      "{\"kind\":\"list\",\"ok\":true}\n{\"end\":false,\"error\":\"the answer broke off: table is gone\"}\n");
}

TEST_F(AdminServer, GeneratesNoFasterThanTheClientReads) {
  RunningServer server(path);
  std::atomic<std::uint64_t> pulled = 0;
  constexpr std::uint64_t kAll = 1'000'000;
  server.answer("echo", echo());
  server.answer("many", [&](const Json&) {
    return Answer::list([&pulled](Json& item) {
      if (pulled == kAll) return Pull::End;
      item = {{"number", pulled++}};
      return Pull::Item;
    });
  });
  RawClient slow(path);
  slow.send("{\"command\":\"many\"}\n");
  slow.finish_sending();
  slow.line();
  // Whatever is pulled now lies in socket buffers: some hundred kilobytes, of 16 bytes or more each.
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(answer_to("{\"command\":\"echo\"}\n").empty());
  EXPECT_LT(pulled, kAll / 4);
  const std::string all = slow.rest();
  EXPECT_EQ(pulled, kAll);
  EXPECT_TRUE(all.ends_with("{\"number\":999999}\n{\"end\":true}\n"));
}

TEST_F(AdminServer, ServesOthersWhileAnAnswerIsStillBeingLookedFor) {
  RunningServer server(path);
  std::atomic<bool> found = false;
  server.answer("echo", echo());
  server.answer("find", [&](const Json&) {
    return Answer::object_later([&](Json& item) {
      if (!found) return Pull::Later;
      item = {{"count", 7}};
      return Pull::Item;
    });
  });
  RawClient patient(path);
  patient.send("{\"command\":\"find\"}\n");
  EXPECT_EQ(patient.line(), "{\"kind\":\"object\",\"ok\":true}\n");
  EXPECT_FALSE(answer_to("{\"command\":\"echo\"}\n").empty());
  found = true;
  EXPECT_EQ(patient.lines(2), "{\"count\":7}\n{\"end\":true}\n");
}

TEST_F(AdminServer, DropsAnAnswerWhoseClientIsGone) {
  RunningServer server(path);
  const auto token = std::make_shared<int>(0);
  server.answer("forever", [weak = std::weak_ptr(token)](const Json&) {
    return Answer::list([held = weak.lock()](Json& item) {
      item = {{"n", 1}};
      return Pull::Item;
    });
  });
  {
    RawClient client(path);
    client.send("{\"command\":\"forever\"}\n");
    EXPECT_EQ(client.line(), "{\"kind\":\"list\",\"ok\":true}\n");
  }
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (server.clients() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(server.clients(), 0u);
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(AdminServer, ClosesClientsThatSayNothing) {
  RunningServer server(path, {.idle = 50ms});
  RawClient client(path);
  client.send("{\"comm");
  EXPECT_EQ(client.line(), "");  // the stream ends
}

TEST_F(AdminServer, ClosesClientsThatDoNotRead) {
  RunningServer server(path, {.stall = 50ms});
  server.answer("forever", [](const Json&) {
    return Answer::list([](Json& item) {
      item = {{"n", 1}};
      return Pull::Item;
    });
  });
  RawClient client(path);
  client.send("{\"command\":\"forever\"}\n");
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  std::size_t most = 0;
  while ((most == 0 || server.clients() > 0) && std::chrono::steady_clock::now() < deadline)
    most = std::max(most, server.clients());
  EXPECT_EQ(most, 1u);
  EXPECT_EQ(server.clients(), 0u);
}

TEST_F(AdminServer, RefusesMoreClientsThanItsLimit) {
  RunningServer server(path, {.clients = 2});
  server.answer("echo", echo());
  {
    RawClient first(path), second(path);
    for (RawClient* client : {&first, &second}) {
      client->send("{\"command\":\"echo\"}\n");
      EXPECT_EQ(client->line(), "{\"kind\":\"object\",\"ok\":true}\n");
    }
    RawClient third(path);
    EXPECT_EQ(third.line(), "{\"error\":\"too many clients\",\"ok\":false}\n");
  }
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (server.clients() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(answer_to("{\"command\":\"echo\"}\n").substr(0, 16), "{\"kind\":\"object\"");
}

TEST_F(AdminServer, OutlivesGarbage) {
  RunningServer server(path);
  server.answer("echo", echo());
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    RawClient client(path);
    client.send(bytes);
    if (round % 2 == 0) client.finish_sending();
    if (round % 4 == 0) client.rest();
  }
  EXPECT_EQ(answer_to("{\"command\":\"echo\"}\n").substr(0, 16), "{\"kind\":\"object\"");
}

TEST_F(AdminSocket, IsForItsOwnerInADirectoryMadeForIt) {
  const std::string deep = dir / "a/b/vmnat.sock";
  {
    RunningServer server(deep);
    struct stat status {};
    ASSERT_EQ(::stat(deep.c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777, 0600u);
  }
  EXPECT_FALSE(std::filesystem::exists(deep)) << "the socket goes with the server";
}

TEST_F(AdminSocket, ReplacesOneThatNobodyAnswersOn) {
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(dead);
  RunningServer server(path);
  EXPECT_TRUE(RawClient(path).connected());
}

TEST_F(AdminSocket, IsNotTakenFromARunningServer) {
  RunningServer server(path);
  boost::asio::io_context context;
  const auto second = Server::listen(context, path);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(to_string(second.error()), path + ": another program answers on it (is vmnatd running already?)");
  EXPECT_TRUE(RawClient(path).connected());
}

TEST_F(AdminSocket, IsNotMadeInPlaceOfAFile) {
  std::ofstream(path) << "precious";
  boost::asio::io_context context;
  const auto server = Server::listen(context, path);
  ASSERT_FALSE(server.has_value());
  EXPECT_EQ(to_string(server.error()), path + ": exists and is not a socket");
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(AdminSocket, CannotBeMadeBelowAFileOrWithALongPath) {
  std::ofstream(dir / "file") << "x";
  boost::asio::io_context context;
  EXPECT_FALSE(Server::listen(context, dir / "file/vmnat.sock").has_value());
  const auto too_long = Server::listen(context, dir / std::string(200, 'x'));
  ASSERT_FALSE(too_long.has_value());
  EXPECT_EQ(too_long.error().what, "the path of a socket has at most 107 characters");
}

TEST_F(AdminClient, GetsElementsOneByOne) {
  RunningServer server(path);
  server.answer("list", [](const Json&) { return Answer::list_of(Json::parse(R"([{"n":1},{"n":2}])")); });
  std::string lines;
  const auto kind = call(path, "list", Json::object(),
                         [&](Answer::Kind, std::string_view line) { lines += std::string{line} + ";"; });
  ASSERT_TRUE(kind.has_value());
  EXPECT_EQ(*kind, Answer::Kind::List);
  EXPECT_EQ(lines, "{\"n\":1};{\"n\":2};");
}

TEST_F(AdminClient, TellsFailuresApart) {
  const auto ignore = [](Answer::Kind, std::string_view) {};
  const auto absent = call(path, "x", Json::object(), ignore);
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().kind, CallError::Kind::CannotConnect);
  EXPECT_NE(absent.error().what.find("is vmnatd running?"), std::string::npos);

  RunningServer server(path);
  server.answer("break", [](const Json&) {
    return Answer::list([](Json&) -> Pull { throw std::runtime_error("gone"); });
  });
  const auto unknown = call(path, "x", Json::object(), ignore);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().kind, CallError::Kind::Refused);
  EXPECT_EQ(unknown.error().what, "unknown command 'x'");
  const auto broken = call(path, "break", Json::object(), ignore);
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().kind, CallError::Kind::BrokenOff);
  EXPECT_EQ(broken.error().what, "the answer broke off: gone");
}

TEST_F(AdminClient, GivesUpOnADaemonThatIsSilent) {
  RunningServer server(path);
  server.answer("never", [](const Json&) { return Answer::object_later([](Json&) { return Pull::Later; }); });
  const auto silent = call(
      path, "never", Json::object(), [](Answer::Kind, std::string_view) {}, 50ms);
  ASSERT_FALSE(silent.has_value());
  EXPECT_EQ(silent.error().kind, CallError::Kind::BrokenOff);
  const auto too_long = call("/" + std::string(200, 'x'), "x", Json::object(), {});
  EXPECT_EQ(too_long.error().kind, CallError::Kind::CannotConnect);
  EXPECT_NE(too_long.error().what.find("File name too long"), std::string::npos) << too_long.error().what;
}

// A stream of bytes and elements, which counts how many of it are under way.
Handler stream_of(std::atomic<int>& under_way, int pieces) {
  return [&under_way, pieces](const Json&) {
    struct State {
      explicit State(std::atomic<int>& number) : under_way(number) { ++under_way; }
      State(const State&) = delete;
      State& operator=(const State&) = delete;
      ~State() { --under_way; }
      std::atomic<int>& under_way;
      int sent = 0;
      bool is_finishing = false, has_ended = false;
    };
    const auto state = std::make_shared<State>(under_way);
    return Answer::stream(
        [state, pieces](Json& item) {
          if (state->has_ended) return Pull::End;
          if (state->sent < pieces) {
            ++state->sent;
            item = Json::binary({1, 0, 10, 2});
            return Pull::Item;
          }
          if (!state->is_finishing) return Pull::Later;
          state->has_ended = true;
          item = {{"sent", state->sent}};
          return Pull::Item;
        },
        [state] { state->is_finishing = true; });
  };
}

TEST_F(AdminServer, AStreamGoesOnUntilItsReaderCloses) {
  std::atomic<int> under_way = 0;
  RunningServer server(path);
  server.answer("stream", stream_of(under_way, 2));
  RawClient client(path);
  client.send("{\"command\":\"stream\"}\n");
  EXPECT_EQ(client.lines(2), "{\"kind\":\"stream\",\"ok\":true}\n{\"bytes\":4}\n");
  client.finish_sending();
  EXPECT_EQ(client.rest(), std::string("\1\0\n\2{\"bytes\":4}\n\1\0\n\2{\"sent\":2}\n{\"end\":true}\n", 44));
  EXPECT_EQ(under_way, 0);
}

TEST_F(AdminServer, AStreamWhoseReaderHasDiedEnds) {
  std::atomic<int> under_way = 0;
  RunningServer server(path);
  server.answer("stream", stream_of(under_way, 1));
  for (int i = 0; i < 20; ++i) {
    RawClient client(path);
    client.send("{\"command\":\"stream\"}\n");
    client.line();
    EXPECT_GE(under_way, 1);
  }
  for (int i = 0; i < 1000 && under_way != 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(under_way, 0);
}

TEST_F(AdminServer, AStreamSaysThatItIsAlive) {
  std::atomic<int> under_way = 0;
  RunningServer server(path, {.idle = 20ms, .stall = 20ms, .alive = 50ms});
  server.answer("stream", stream_of(under_way, 0));
  RawClient client(path);
  client.send("{\"command\":\"stream\"}\n");
  client.line();
  EXPECT_EQ(client.lines(2), "{\"alive\":true}\n{\"alive\":true}\n");
}

TEST_F(AdminClient, FollowsAStreamUntilItHasEnough) {
  std::atomic<int> under_way = 0;
  RunningServer server(path, {.alive = 10ms});
  server.answer("stream", stream_of(under_way, 3));
  std::string bytes;
  const StreamReader reader{.on_element = [](std::string_view) { return true; },
                            .on_bytes =
                                [&](std::string_view piece) {
                                  bytes += piece;
                                  return bytes.size() < 12;
                                }};
  EXPECT_TRUE(follow(path, "stream", Json::object(), reader));
  EXPECT_EQ(bytes, std::string("\1\0\n\2\1\0\n\2\1\0\n\2", 12));
  const auto unknown = follow(path, "x", Json::object(), reader);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().what, "unknown command 'x'");
}

TEST_F(AdminClient, FinishesAStreamOnASignal) {
  std::atomic<int> under_way = 0;
  RunningServer server(path);
  server.answer("stream", stream_of(under_way, 1));
  std::string last;
  const StreamReader reader{.on_element =
                                [&](std::string_view element) {
                                  last = element;
                                  return true;
                                },
                            .on_bytes = [](std::string_view) { return ::raise(SIGINT) == 0; }};
  EXPECT_TRUE(follow(path, "stream", Json::object(), reader));
  EXPECT_EQ(last, "{\"sent\":1}");
}

TEST(SessionFilter, ReadsEveryArgument) {
  const auto filter = session_filter(Json::parse(R"({"network":"a","port":"vm1","protocol":"tcp",
    "internal":"10.0.0.1:80","external":"192.0.2.1","remote":"9.9.9.9:53","state":"established","limit":5,"count":true})"));
  ASSERT_TRUE(filter.has_value());
  EXPECT_EQ(filter->network, "a");
  EXPECT_EQ(filter->protocol, net::Protocol::Tcp);
  EXPECT_TRUE(filter->internal->matches({net::Ipv4Addr::of(10, 0, 0, 1), net::L4Port::from_host(80)}));
  EXPECT_FALSE(filter->internal->matches({net::Ipv4Addr::of(10, 0, 0, 1), net::L4Port::from_host(81)}));
  EXPECT_TRUE(filter->external->matches({net::Ipv4Addr::of(192, 0, 2, 1), net::L4Port::from_host(81)}));
  EXPECT_EQ(filter->limit, 5u);
  EXPECT_TRUE(filter->count);
  EXPECT_FALSE(filter->is_empty());
  EXPECT_TRUE(session_filter(Json::object())->is_empty());
}

TEST(SessionFilter, NamesTheArgumentThatIsWrong) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"protocol":"sctp"})", "protocol: must be tcp, udp, icmp or a number up to 255, not \"sctp\""},
      {R"({"protocol":"256"})", "protocol: must be tcp, udp, icmp or a number up to 255, not \"256\""},
      {R"({"internal":"10.0.0"})", "internal: must be an address or address:port, not \"10.0.0\""},
      {R"({"remote":"10.0.0.1:99999"})",
       "remote: must be an address or address:port, not \"10.0.0.1:99999\""},
      {R"({"external":7})", "external: must be an address or address:port, not 7"},
      {R"({"limit":-1})", "limit: must be a whole number, not -1"},
      {R"({"count":"yes"})", "count: must be true or false, not \"yes\""},
      {R"({"network":""})", "network: must be a name"},
      {R"({"colour":"red"})", "colour: is not an argument of this command"},
  };
  for (const auto& [arguments, error] : rows) {
    const auto filter = session_filter(Json::parse(arguments));
    ASSERT_FALSE(filter.has_value()) << arguments;
    EXPECT_EQ(to_string(filter.error()), error);
  }
}

}  // namespace
}  // namespace vmnat::admin
