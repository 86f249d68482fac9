// SPDX-License-Identifier: Apache-2.0
// What a client writes into a request, under any bytes: target, Accept, Host, Authorization, body. The site must
// answer each with one whole response, and change nothing for who may look only.
#include <nlohmann/json.hpp>
#include <string>

#include "control/http/message.h"
#include "control/http/site.h"
#include "tests/fuzz/driver.h"

namespace {

using namespace vmnat;
using admin::Access;

http::Site site() {
  return http::Site(
      [](const std::string& command, Access access,
         const admin::Json& arguments) -> control::Result<admin::Answer> {
        const bool is_change = command == "flush" || command == "reload";
        if (is_change && access != Access::Change) fuzz::fault("a change for who may look only");
        return admin::Answer::list_of(admin::Json::array({arguments, command}));
      },
      [](http::Exposition) { return http::whole("vmnat_up 1\n"); });
}

void check_answer(const http::Request& request) {
  static const http::Site kSite = site();
  const http::Response response = kSite.answer(request);
  std::string body;
  while (response.body(body) != admin::Pull::End) {
  }
  if (response.type != "application/json") return;
  if (!admin::Json::accept(body)) fuzz::fault("an answer that is not JSON: " + body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string input(bytes, bytes + size);
  const auto line_end = input.find('\n');
  const std::string first = input.substr(0, line_end);
  const std::string rest = line_end == std::string::npos ? "" : input.substr(line_end + 1);
  if (const auto target = http::parse_target(first)) {
    if (!target->path.starts_with('/')) fuzz::fault("a path that does not begin with a slash");
    for (const auto& [name, value] : target->options)
      if (name.empty() || name.size() + value.size() > first.size()) fuzz::fault("an option from nowhere");
  }
  for (const auto method : {http::Method::Get, http::Method::Post})
    for (const Access access : {Access::Look, Access::Change})
      check_answer({.method = method, .target = first, .accept = rest, .body = rest, .access = access});
  http::preferred_exposition(input);
  http::bears_token(input, "s3cret");
  if (http::is_own_host(input, *net::parse_ipv4("127.0.0.1"), "gw1") &&
      input.find("evil") != std::string::npos)
    fuzz::fault("a foreign host that is ours");
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  std::vector<std::vector<std::uint8_t>> seeds;
  for (const std::string text :
       {"/api/sessions?network=red&limit=5&count&remote=198.51.100.1%3A53&state=a+b\n",
        "/metrics\ntext/plain;q=0.5", "/api/flush\n{\"all\":true}", "/api/reload\n{}", "/api/%73tatus\n",
        "127.0.0.1:9469", "localhost", "[::1]:9469", "Bearer s3cret",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    seeds.emplace_back(text.begin(), text.end());
  return seeds;
}
