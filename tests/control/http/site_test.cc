// SPDX-License-Identifier: Apache-2.0
#include "control/http/site.h"

#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "control/admin/commands.h"

namespace vmnat::http {
namespace {

using admin::Access;
using admin::Answer;
using admin::Json;

// Answers what it was asked.
Site site() {
  return Site(
      [](const std::string& command, Access, const Json& arguments) -> control::Result<Answer> {
        if (command == "sessions" && arguments.contains("network") && arguments["network"] == "nowhere")
          return tl::unexpected(control::Error{"network", "there is no network nowhere"});
        if (command == "sessions" && arguments.value("count", false)) return Answer::object({{"count", 7}});
        if (command == "sessions") return Answer::list_of(Json::array({arguments, arguments}));
        if (command == "leases") return Answer::list_of(Json::array());
        return Answer::object({{"command", command}, {"arguments", arguments}});
      },
      [](Exposition form) { return whole(form == Exposition::Text ? "text\n" : "# EOF\n"); });
}

std::string body_of(const Response& response) {
  std::string body;
  while (response.body(body) != admin::Pull::End) {
  }
  return body;
}
std::pair<unsigned, std::string> ask(const Request& request) {
  const Response response = site().answer(request);
  return {response.status, body_of(response)};
}
std::string error_of(const Request& request, unsigned status) {
  const auto [is, body] = ask(request);
  EXPECT_EQ(is, status) << body;
  return Json::parse(body)["error"];
}

TEST(Site, ShowsThePageAndNothingElseOfItsFolder) {
  const Response page = site().answer({.target = "/"});
  EXPECT_EQ(page.type, "text/html; charset=utf-8");
  EXPECT_NE(body_of(page).find("<title>vmnat</title>"), std::string::npos);
  const Response script = site().answer({.target = "/page.js"});
  EXPECT_EQ(script.type, "text/javascript; charset=utf-8");
  EXPECT_NE(body_of(script).find("/api/"), std::string::npos);
  for (const char* target : {"/index.html", "/page/", "/page/page.js", "/page.js/", "/Page.js", "/embed.py",
                             "/metrics/", "/api", "//", "/api/../metrics", "/etc/passwd"})
    EXPECT_EQ(ask({.target = target}).first, 404) << target;
}

// The words of a Content-Security-Policy, by their directive.
std::map<std::string, std::string> directives_of(const std::string& policy) {
  std::map<std::string, std::string> directives;
  std::istringstream all(policy);
  for (std::string one; std::getline(all >> std::ws, one, ';');)
    directives.emplace(one.substr(0, one.find(' ')), one.substr(one.find(' ') + 1));
  return directives;
}

TEST(Site, LetsThePageLoadItsScriptAndAskAndNothingElse) {
  const auto page = directives_of(site().answer({.target = "/"}).policy);
  EXPECT_EQ(page.at("default-src"), "'none'");
  EXPECT_EQ(page.at("script-src"), "'self'");
  EXPECT_EQ(page.at("connect-src"), "'self'");
  EXPECT_EQ(page.at("style-src").substr(0, 8), "'sha256-");
  EXPECT_EQ(page.at("frame-ancestors"), "'none'");
  EXPECT_EQ(page.at("require-trusted-types-for"), "'script'");
  for (const auto& [directive, words] : page)
    EXPECT_EQ(words.find("unsafe"), std::string::npos) << directive << " " << words;
  for (const char* target :
       {"/page.js", "/metrics", "/api/status", "/api/sessions", "/nothing", "/api/flush"})
    EXPECT_EQ(site().answer({.target = target}).policy, "default-src 'none'; frame-ancestors 'none'")
        << target;
}

TEST(Site, ThePageHasNoScriptOfItsOwnNoStyleByAttributeAndNoForeignAddress) {
  const std::string page = body_of(site().answer({.target = "/"}));
  const std::string script = body_of(site().answer({.target = "/page.js"}));
  for (const char* text : {"<script>", " style=", " onerror=", " onload=", " onclick=", "javascript:"})
    EXPECT_EQ(page.find(text), std::string::npos) << text;
  for (const char* text :
       {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "cookie"})
    EXPECT_EQ(script.find(text), std::string::npos) << text;
  EXPECT_EQ(script.find("://"), std::string::npos);
  EXPECT_EQ(page.find("https:"), std::string::npos);
}

TEST(Site, GivesMetricsInTheFormThatIsAccepted) {
  const Response text = site().answer({.target = "/metrics"});
  EXPECT_EQ(text.type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(body_of(text), "text\n");
  const Response open = site().answer({.target = "/metrics", .accept = "application/openmetrics-text"});
  EXPECT_EQ(open.type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
  EXPECT_EQ(body_of(open), "# EOF\n");
}

TEST(Site, AnswersCommandsWithOneJsonDocument) {
  EXPECT_EQ(Json::parse(ask({.target = "/api/status"}).second),
            (Json{{"command", "status"}, {"arguments", Json::object()}}));
  EXPECT_EQ(Json::parse(ask({.target = "/api/leases"}).second), Json::array());
  const Json arguments{{"network", "red"}, {"limit", 5}, {"protocol", "6"}};
  EXPECT_EQ(Json::parse(ask({.target = "/api/sessions?network=red&limit=5&protocol=6"}).second),
            (Json::array({arguments, arguments})));
  EXPECT_EQ(Json::parse(ask({.target = "/api/sessions?count"}).second), (Json{{"count", 7}}));
  EXPECT_TRUE(Json::parse(ask({.target = "/api/sessions?count=false"}).second).is_array());
}

TEST(Site, RefusesOptionsThatAreNotRight) {
  EXPECT_EQ(error_of({.target = "/api/sessions?limit=many"}, 400), "limit: cannot be 'many'");
  EXPECT_EQ(error_of({.target = "/api/sessions?limit="}, 400), "limit: cannot be ''");
  EXPECT_EQ(error_of({.target = "/api/sessions?count=maybe"}, 400), "count: cannot be 'maybe'");
  EXPECT_EQ(error_of({.target = "/api/sessions?limit=1&limit=2"}, 400), "limit: is given twice");
  EXPECT_EQ(error_of({.target = "/api/status?limit=1"}, 400), "limit: 'status' has no options");
  EXPECT_EQ(error_of({.target = "/api/sessions?network=nowhere"}, 400),
            "network: there is no network nowhere");
  EXPECT_EQ(error_of({.target = "/%zz"}, 400), "the target is not a path with options");
  EXPECT_EQ(error_of({.target = "/api/nothing"}, 404), "there is no command 'nothing'");
}

TEST(Site, AnswersEachMethodWhereItBelongs) {
  for (const Method method : {Method::Post, Method::Other})
    for (const char* target : {"/", "/page.js", "/metrics", "/api/status"}) {
      const Response response = site().answer({.method = method, .target = target});
      EXPECT_EQ(response.status, 405u);
      EXPECT_EQ(response.allow, "GET, HEAD");
    }
  for (const char* target : {"/", "/page.js", "/metrics"})
    EXPECT_EQ(ask({.method = Method::Head, .target = target}).first, 200u) << target;
  const Response response = site().answer({.target = "/api/flush", .access = Access::Change});
  EXPECT_EQ(response.status, 405u);
  EXPECT_EQ(response.allow, "POST");
}

TEST(Site, ChangesNothingForWhoMayLook) {
  for (const admin::Command& command : admin::kCommands)
    for (const Method method : {Method::Get, Method::Head, Method::Post, Method::Other}) {
      if (command.access != Access::Change) continue;
      const Request request{.method = method, .target = "/api/" + std::string{command.name}, .body = "{}"};
      EXPECT_EQ(ask(request).first, 403u) << command.name;
    }
}

TEST(Site, TakesTheArgumentsOfAChangeFromTheBody) {
  const Request flush{
      .method = Method::Post, .target = "/api/flush", .body = R"({"all":true})", .access = Access::Change};
  EXPECT_EQ(Json::parse(ask(flush).second), (Json{{"command", "flush"}, {"arguments", {{"all", true}}}}));
  for (const char* body : {"[]", "{", "all", "null"}) {
    Request wrong = flush;
    wrong.body = body;
    EXPECT_EQ(error_of(wrong, 400), "the body is not a JSON object of arguments");
  }
  EXPECT_EQ(ask({.method = Method::Post, .target = "/api/reload", .access = Access::Change}).first, 200u);
}

}  // namespace
}  // namespace vmnat::http
