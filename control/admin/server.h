// SPDX-License-Identifier: Apache-2.0
// The admin socket: commands in, JSON out, over a UNIX stream socket.
//
// A request is one line, {"command":"sessions","arguments":{"network":"default"}}, ended by "\n". Its answer:
//
//   {"kind":"list","ok":true}     or {"kind":"object","ok":true}; or {"error":"...","ok":false}, and no more
//   {"network":"default",...}     a line for each element of a list; exactly one for an object
//   {"end":true}                  or {"end":false,"error":"..."} when it broke off in the middle
//
// No element begins with the key "end". Requests may follow one another on a connection. README.md beside
// this file lists the commands and the shapes of their answers.
//
// A stream is an answer that goes on until its reader closes its sending side, and ends the connection:
//
//   {"kind":"stream","ok":true}
//   {"bytes":20}                  and as many bytes, with whatever is in them
//   {"captured":1,...}            or elements, as of a list
//   {"alive":true}                now and then, while nothing else comes
//   {"end":true}
//
// The one who makes a stream is asked to finish when the reader has closed, and may say some last words. A reader that
// reads slowly is waited for; whoever makes the stream has to bound what it holds meanwhile.
//
// A list is pulled from its generator as fast as the client reads, so ten million sessions are never in
// memory, and control's other work goes on in between. A connection that begins with a capital letter, as HTTP's
// methods do and JSON never, speaks another protocol, and is handed over. Everything runs on the io_context's one thread, where
// Server must be used and destroyed. access.h says who may do what; a socket that nobody answers on is replaced.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "control/admin/access.h"
#include "control/result.h"

namespace boost::asio {
class io_context;
}

namespace vmnat::admin {

using Json = nlohmann::json;

// Item: one was written. Later: none within a bounded amount of work, ask again. End: there are no more.
enum class Pull { Item, Later, End };
using Generator = std::function<Pull(Json& item)>;

class Answer {
 public:
  enum class Kind { Object, List, Stream };
  static Answer object(Json value);
  // An object that takes a while: the generator answers Later until its one Item.
  static Answer object_later(Generator next) { return Answer{Kind::Object, std::move(next)}; }
  static Answer list(Generator next) { return Answer{Kind::List, std::move(next)}; }
  static Answer list_of(Json array);  // for short lists
  // Later: nothing has come yet. An item that is binary (Json::binary) is sent as it is. `finish`: the reader wants no
  // more; the generator says its last words, and then End.
  static Answer stream(Generator next, std::function<void()> finish) {
    return Answer{Kind::Stream, std::move(next), std::move(finish)};
  }

  [[nodiscard]] Kind kind() const { return kind_; }
  Pull next(Json& item) { return next_(item); }
  void finish() { finish_(); }  // of a stream

 private:
  Answer(Kind kind, Generator next, std::function<void()> finish = {})
      : kind_(kind), next_(std::move(next)), finish_(std::move(finish)) {}
  Kind kind_;
  Generator next_;
  std::function<void()> finish_;
};

// `arguments` is always a JSON object. An Error's text goes to the client, as does what() of an exception.
using Handler = std::function<control::Result<Answer>(const Json& arguments)>;
// Takes a connected socket, of which nothing has been read, and what its peer may do.
using Takeover = std::function<void(int socket, Access access)>;

struct ServerLimits {
  std::size_t clients = 32;
  std::size_t request_bytes = 1024 * 1024;  // `network add` sends a whole network
  std::chrono::milliseconds idle{60'000};   // without a whole request
  std::chrono::milliseconds stall{30'000};  // of a client that does not read its answer
  std::chrono::milliseconds alive{
      10'000};  // of a stream in which nothing comes, until it says that it is alive
};

class Server {
 public:
  // Creates the socket and its directory. An Error when another program answers on it or it cannot be made.
  static control::Result<std::unique_ptr<Server>> listen(boost::asio::io_context& context,
                                                         const std::string& path, AccessRules rules = {},
                                                         ServerLimits limits = {});
  virtual ~Server() = default;  // closes all connections and removes the socket

  // `needed`: by whoever asks.
  virtual void answer(const std::string& command, Access needed, Handler handler) = 0;
  // The answer for whoever asks by another way, and may do what `access` says.
  [[nodiscard]] virtual control::Result<Answer> ask(const std::string& command, Access access,
                                                    const Json& arguments) = 0;
  // Who takes connections of another protocol; without it they are told that they are not JSON.
  virtual void hand_over_to(Takeover takeover) = 0;
  [[nodiscard]] virtual std::size_t clients() const = 0;
};

}  // namespace vmnat::admin
