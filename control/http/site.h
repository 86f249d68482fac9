// SPDX-License-Identifier: Apache-2.0
// Site: what is behind each path, without any socket.
//
//   /, /page.js     the page (page/)
//   /metrics        all metrics, as text or OpenMetrics
//   /api/COMMAND    the answer of an admin command, the same JSON as `vmnatctl --json COMMAND`; its arguments are
//                   options: /api/sessions?network=red&limit=5
//
// Commands that change something are for POST, their arguments a JSON object in the body, and for whoever may:
// over TCP that needs the token, if there is one. Everything else is for GET and HEAD.
//
// Bodies are pulled, as fast as the client reads: ten million sessions are never in memory.
#pragma once

#include <functional>
#include <string>

#include "control/admin/server.h"
#include "control/http/message.h"

namespace vmnat::http {

enum class Method { Get, Head, Post, Other };

struct Request {
  Method method = Method::Get;
  std::string target = {};
  std::string accept = {};
  std::string body = {};
  admin::Access access = admin::Access::Look;
};

// Appends a piece. Item: there may be more; Later: nothing yet within a bounded amount of work; End: that was all.
using Body = std::function<admin::Pull(std::string& piece)>;
Body whole(std::string text);

struct Response {
  unsigned status = 200;
  std::string type;
  std::string policy = "default-src 'none'; frame-ancestors 'none'";  // what a browser may load for it
  std::string allow = {};                                             // with 405
  Body body;
};

class Site {
 public:
  using Ask = std::function<control::Result<admin::Answer>(const std::string& command, admin::Access access,
                                                           const admin::Json& arguments)>;
  using Metrics = std::function<Body(Exposition)>;
  Site(Ask ask, Metrics metrics) : ask_(std::move(ask)), metrics_(std::move(metrics)) {}

  [[nodiscard]] Response answer(const Request& request) const;
  // For what went wrong before there was a request.
  static Response error(unsigned status, const std::string& what);

 private:
  [[nodiscard]] Response command(const Request& request, const Target& target) const;
  Ask ask_;
  Metrics metrics_;
};

}  // namespace vmnat::http
