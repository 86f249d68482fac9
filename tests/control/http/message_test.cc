// SPDX-License-Identifier: Apache-2.0
#include "control/http/message.h"

#include <gtest/gtest.h>
#include <string>

namespace vmnat::http {
namespace {

using Options = std::vector<std::pair<std::string, std::string>>;

TEST(Target, IsAPathAndItsOptions) {
  const auto target =
      parse_target("/api/sessions?network=red&limit=5&count&remote=198.51.100.1%3A53&state=a+b");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/api/sessions");
  EXPECT_EQ(target->options, (Options{{"network", "red"},
                                      {"limit", "5"},
                                      {"count", ""},
                                      {"remote", "198.51.100.1:53"},
                                      {"state", "a b"}}));
}

TEST(Target, OfAPathAlone) {
  for (const char* text : {"/", "/?", "/?&"}) {
    const auto target = parse_target(text);
    ASSERT_TRUE(target) << text;
    EXPECT_EQ(target->path, "/");
    EXPECT_TRUE(target->options.empty());
  }
  EXPECT_EQ(parse_target("/a%2fb+c")->path, "/a/b+c");
}

TEST(Target, ThatIsNoneIsRefused) {
  for (const char* text : {"", "*", "api", "http://host/", "/%", "/%4", "/%zz", "/%-1", "/%00", "/%0a",
                           "/a\x01", "/?=b", "/?a=%g0", "/?%0d=b"})
    EXPECT_FALSE(parse_target(text)) << text;
}

TEST(Accept, TakesOpenMetricsOnlyFromWhoNamesIt) {
  for (const char* text :
       {"", "*/*", "text/plain", "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/openmetrics-text;q=0", "application/openmetrics-text;q=0.3,text/plain;q=0.5",
        "application/openmetrics-text;version=2.0.0", "application/openmetrics-text;q=nonsense",
        "application/openmetrics-text;q=0.00001"})
    EXPECT_EQ(preferred_exposition(text), Exposition::Text) << text;
  for (const char* text :
       {"application/openmetrics-text", "Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.5",
        // Prometheus 2.42
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    EXPECT_EQ(preferred_exposition(text), Exposition::OpenMetrics) << text;
}

net::Ipv4Addr ip(const char* text) {
  return *net::parse_ipv4(text);
}

TEST(Host, IsOursByLoopbackAddressesAndNames) {
  for (const char* host :
       {"127.0.0.1", "127.0.0.1:9469", "localhost", "LOCALHOST:80", "127.3.4.5:1", "gw1:9469"})
    EXPECT_TRUE(is_own_host(host, ip("127.0.0.1"), "gw1")) << host;
}

TEST(Host, OfAnotherSiteIsNotOurs) {
  for (const char* host : {"", "evil.example", "evil.example:9469", "localhost.evil.example",
                           "127.0.0.1.evil.example", "192.0.2.1", "gw1.evil.example", "127.0.0.1:port",
                           "127.0.0.1:99999999", "[::1", ":9469", "localhost:80:80"})
    EXPECT_FALSE(is_own_host(host, ip("127.0.0.1"), "gw1")) << host;
  EXPECT_FALSE(is_own_host("", ip("127.0.0.1"), ""));
}

TEST(Host, IsTheAddressThatIsListenedOnOrAnyAddressWhereAllAre) {
  EXPECT_TRUE(is_own_host("192.0.2.1:9469", ip("192.0.2.1"), ""));
  EXPECT_FALSE(is_own_host("192.0.2.2:9469", ip("192.0.2.1"), ""));
  EXPECT_TRUE(is_own_host("192.0.2.2:9469", ip("0.0.0.0"), ""));
  EXPECT_FALSE(is_own_host("evil.example", ip("0.0.0.0"), ""));
}

TEST(Token, IsBornAsItIs) {
  EXPECT_TRUE(bears_token("Bearer s3cret", "s3cret"));
  EXPECT_TRUE(bears_token("bearer s3cret ", "s3cret"));
  for (const char* field : {"", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Bearer s3cretX",
                            "Basic s3cret", "s3cret", "Bearer S3CRET"})
    EXPECT_FALSE(bears_token(field, "s3cret")) << field;
  EXPECT_FALSE(bears_token("Bearer ", ""));
}

}  // namespace
}  // namespace vmnat::http
