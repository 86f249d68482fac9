// SPDX-License-Identifier: Apache-2.0
// Server: HTTP/1.1 on control's thread, for a Site, by TCP and by what comes over the admin socket.
//
// Whoever connects can cost little: a connection more than there may be takes the place of the one that has been
// waited for longest, so neither slow clients nor idle ones keep others out; a request's head and body have bounds,
// and so has the time to send them and to read an answer. Answers are made in turns of 2 ms at most, and for as
// long as a turn took there is no other one, so that control has half of its time for its other work, whoever asks.
//
// Everything runs on the io_context's one thread, where Server must be used and destroyed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "control/admin/access.h"
#include "control/http/site.h"
#include "control/result.h"
#include "net/address.h"

namespace boost::asio {
class io_context;
}

namespace vmnat::http {

struct ServerLimits {
  std::size_t connections = 32;
  std::size_t header_bytes = 8192;
  std::size_t body_bytes = 64 * 1024;
  std::chrono::milliseconds idle{120'000};    // between two requests: scrapers come once a minute or so
  std::chrono::milliseconds request{10'000};  // from a request's first byte to its last
  std::chrono::milliseconds stall{30'000};    // of a client that does not read a piece of its answer
};

class Server {
 public:
  // It listens nowhere yet. `token`: who bears it may change things over TCP; empty: nobody may.
  static std::unique_ptr<Server> create(boost::asio::io_context& context, Site site,
                                        ServerLimits limits = {});
  virtual ~Server() = default;  // closes all connections

  // Where it listens from now on; nothing: nowhere. Connections from before end once they have been answered. An
  // Error: the address cannot be had, and nothing has changed.
  virtual control::Result<void> listen(const std::optional<net::Endpoint>& at) = 0;
  [[nodiscard]] virtual std::optional<net::Endpoint> listens() const = 0;
  // A connected socket, whose peer may do what `access` says. It is the server's from now on.
  virtual void adopt(int socket, admin::Access access) = 0;
  virtual void set_token(std::string token) = 0;

  [[nodiscard]] virtual std::size_t connections() const = 0;
  [[nodiscard]] virtual std::uint64_t requests() const = 0;
  // CPU time that answers have taken.
  [[nodiscard]] virtual std::chrono::nanoseconds time_spent() const = 0;
};

}  // namespace vmnat::http
