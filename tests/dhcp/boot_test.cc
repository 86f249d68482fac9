// SPDX-License-Identifier: Apache-2.0
// Which file a client is told, by what it says that it is, and in which fields and options.
#include "dhcp/boot.h"

#include <gtest/gtest.h>

#include "dhcp/server.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

constexpr std::string_view kUrl = "http://192.168.122.4/boot.efi";

struct BootTest : testing::Test {
  BootTest() {
    const net::Ipv4Addr tftp = ip("192.168.122.4");
    settings.boot = {{.for_ipxe = true, .server = tftp, .file = "boot.ipxe"},
                     {.architecture = 7, .server = tftp, .file = "ipxe.efi"},
                     {.architecture = 16, .server = tftp, .file = std::string{kUrl}},
                     {.server = tftp, .file = "pxelinux.0"}};
    use();
  }
  void use() { server = Server{settings, 1}; }
  RequestFrame by_pxe(std::string_view architectures) {
    return vm.discover()
        .with(Option::VendorClass, "PXEClient:Arch:00007:UNDI:003016")
        .with(Option::ClientArch, hex(architectures));
  }
  RequestFrame by_http(std::string_view architectures) {
    return vm.discover()
        .with(Option::VendorClass, "HTTPClient:Arch:00016:UNDI:003001")
        .with(Option::ClientArch, hex(architectures));
  }
  std::string file_for(const RequestFrame& request) {
    const Reply offer = vm.ask(request).value();
    return offer.message.header.file.data();
  }

  NetworkSettings settings = default_network();
  Server server{default_network(), 1};
  TestClient vm{server, "vm1", mac("52:54:00:aa:00:01")};
};

TEST_F(BootTest, IpxeIsToldAnotherFileThanWhatLoadedIt) {
  struct Case {
    const char* says;
    Bytes user_class;
    const char* file;
  };
  const Case cases[] = {
      {"none", {}, "ipxe.efi"},
      {"text", hex("69505845"), "boot.ipxe"},
      {"a list of one", hex("04 69505845"), "boot.ipxe"},
      {"a list, the last", hex("03 6c6162 04 69505845"), "boot.ipxe"},
      {"another class", hex("6c6162"), "ipxe.efi"},
      {"a longer word", hex("6950584532"), "ipxe.efi"},
      {"a list that is cut off", hex("05 69505845"), "ipxe.efi"},
      {"a list that goes on behind its end", hex("03 6c6162 ff 69505845"), "ipxe.efi"},
      {"a list of nothing", hex("00 00"), "ipxe.efi"},
  };
  for (const Case& c : cases) {
    RequestFrame request = by_pxe("0007");
    if (!c.user_class.empty()) request.with(Option::UserClass, c.user_class);
    EXPECT_EQ(file_for(request), c.file) << c.says;
  }
  EXPECT_EQ(file_for(by_pxe("0007").with(Option::IpxeOptions, hex("b1 05 01 10 ec 81 39"))), "boot.ipxe");
  EXPECT_EQ(file_for(vm.discover().with(Option::UserClass, "iPXE")), "boot.ipxe") << "of a BIOS";
}

TEST_F(BootTest, WithoutAFileOfItsOwnIpxeIsAClientLikeAnyOther) {
  settings.boot.erase(settings.boot.begin());
  use();
  EXPECT_EQ(file_for(by_pxe("0007").with(Option::UserClass, "iPXE")), "ipxe.efi");
  EXPECT_EQ(file_for(by_pxe("0000").with(Option::UserClass, "iPXE")), "pxelinux.0");
}

TEST_F(BootTest, AnyOfTheArchitecturesOfAClientCounts) {
  EXPECT_EQ(file_for(by_pxe("0000")), "pxelinux.0");
  EXPECT_EQ(file_for(by_pxe("0009 0007")), "ipxe.efi");
  EXPECT_EQ(file_for(by_pxe("00 07 00")), "ipxe.efi");
  EXPECT_EQ(file_for(by_pxe("07")), "pxelinux.0");
  EXPECT_EQ(file_for(vm.discover()), "pxelinux.0");
}

TEST_F(BootTest, HttpBootIsAnsweredAsSuchWhetherItAsksOrNot) {
  for (const bool asks : {true, false}) {
    RequestFrame request = by_http("0010");
    if (asks)
      request.asking_for({1, 3, 6, 60, 67});
    else
      request.asking_for({1, 3, 6});
    const Reply offer = vm.ask(request).value();
    EXPECT_EQ(offer.options().text(Option::VendorClass), "HTTPClient");
    EXPECT_EQ(offer.options().text(Option::BootFileName), kUrl);
    EXPECT_EQ(offer.message.header.file.data(), kUrl);
    const Reply ack = vm.ask(vm.selecting(offer.yiaddr())
                                 .with(Option::VendorClass, "HTTPClient:Arch:00016")
                                 .with(Option::ClientArch, hex("0010")))
                          .value();
    EXPECT_EQ(ack.options().text(Option::VendorClass), "HTTPClient");
  }
}

TEST_F(BootTest, HttpBootIsToldNoFileThatIsNoUrl) {
  for (const char* architecture : {"0007", "0013"}) {
    const Reply offer = vm.ask(by_http(architecture).asking_for({60, 66, 67})).value();
    EXPECT_FALSE(offer.options().has(Option::VendorClass));
    EXPECT_FALSE(offer.options().has(Option::BootFileName));
    EXPECT_EQ(offer.message.header.file[0], 0);
    EXPECT_EQ(offer.message.header.siaddr, net::Ipv4Addr{});
  }
  settings.boot.back().file = "https://boot.example/any.efi";
  use();
  EXPECT_EQ(file_for(by_http("0013")), "https://boot.example/any.efi") << "the file for all others is one";
}

TEST_F(BootTest, NobodyElseIsToldHttpClient) {
  settings.options = {{.code = 60, .value = Bytes{}}};
  const ByteView value = bytes_of(kHttpClass);
  settings.options[0].value.assign(value.begin(), value.end());
  use();
  for (const RequestFrame& request :
       {by_pxe("0007"), by_pxe("0010"), vm.discover(), vm.discover().with(Option::VendorClass, "udhcp 1.35"),
        vm.discover().with(Option::VendorClass, "httpclient")})
    EXPECT_FALSE(vm.ask(request)->options().has(Option::VendorClass));
  EXPECT_EQ(vm.ask(by_http("0010"))->options().text(Option::VendorClass), "HTTPClient") << "once";
}

TEST_F(BootTest, OnlyPxeClientsAreToldPxeClientAndOnlyByConfiguration) {
  EXPECT_FALSE(vm.ask(by_pxe("0007"))->options().has(Option::VendorClass));
  const ByteView value = bytes_of(kPxeClass);
  settings.options = {{.code = 60, .value = Bytes{value.begin(), value.end()}}};
  use();
  EXPECT_EQ(vm.ask(by_pxe("0007"))->options().text(Option::VendorClass), "PXEClient");
  EXPECT_EQ(vm.ask(by_http("0010"))->options().text(Option::VendorClass), "HTTPClient");
  EXPECT_FALSE(vm.ask(by_http("0007"))->options().has(Option::VendorClass));
  EXPECT_FALSE(vm.ask(vm.discover())->options().has(Option::VendorClass));
}

TEST_F(BootTest, AFileThatDoesNotFitIntoTheHeaderGoesWholeIntoItsOption) {
  for (const std::size_t size : {127u, 128u, 255u}) {
    const std::string url = "http://boot.example/" + std::string(size - 20, 'x');
    settings.boot.back().file = url;
    use();
    const bool fits = size < 128;
    const auto offer_to = [&](const RequestFrame& request) {
      const Reply offer = vm.ask(request).value();
      EXPECT_EQ(offer.message.header.file.data(), fits ? url : "") << size;
      return std::string{offer.options().text(Option::BootFileName)};
    };
    EXPECT_EQ(offer_to(by_pxe("0000").asking_for({1, 3})), fits ? "" : url) << size;
    EXPECT_EQ(offer_to(by_http("0013").with(Option::MaxMessageSize, hex("05dc"))), url) << size;
  }
}

}  // namespace
}  // namespace vmnat::dhcp::test
