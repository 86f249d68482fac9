// SPDX-License-Identifier: Apache-2.0
// Where translations go: files that are renamed and disks that are full; syslog and collectors that are not there.
#include <arpa/inet.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/system/file_descriptor.h"
#include "control/translations/sink.h"
#include "tests/support/temp_dir.h"

namespace vmnat::control {
namespace {

Translation mark(TranslationEvent event) {
  return {.time = std::chrono::system_clock::now(), .event = event};
}

Translation created() {
  Translation translation = mark(TranslationEvent::Created);
  translation.network = R"("default")";
  translation.port = R"("vm1")";
  translation.session.internal = {net::Ipv4Addr::of(192, 168, 122, 10), net::L4Port::from_host(1234)};
  translation.session.external = {net::Ipv4Addr::of(203, 0, 113, 2), net::L4Port::from_host(5678)};
  translation.session.remote = {net::Ipv4Addr::of(9, 9, 9, 9), net::L4Port::from_host(53)};
  translation.session.protocol = net::Protocol::Udp;
  return translation;
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

struct JsonFileTest : testing::Test {
  TempDir directory;
  const std::string path = directory / "log.json";
};

TEST_F(JsonFileTest, IsAppendedToAndOnlyForItsOwnerAndGroup) {
  {
    const auto file = make_json_file(path);
    file->write(mark(TranslationEvent::Started));
    file->write(created());
    EXPECT_EQ(file->flush(), 0u);
    EXPECT_EQ(lines_of(path).size(), 2u);
    EXPECT_EQ(file->problem(), "");
  }
  const auto again = make_json_file(path);
  again->write(created());
  EXPECT_EQ(again->flush(), 0u);
  EXPECT_EQ(lines_of(path).size(), 3u);
  EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::others_all,
            std::filesystem::perms::none);
}

TEST_F(JsonFileTest, ThatWasRenamedIsMadeAnew) {
  const auto file = make_json_file(path);
  file->write(created());
  file->flush();
  std::filesystem::rename(path, path + ".1");
  file->write(created());
  file->flush();
  EXPECT_EQ(lines_of(path + ".1").size(), 2u) << "nothing is lost before it is noticed";
  file->look_again();
  file->write(created());
  file->flush();
  EXPECT_EQ(lines_of(path).size(), 1u);
  EXPECT_EQ(lines_of(path + ".1").size(), 2u);
}

TEST_F(JsonFileTest, ThatIsOpenAndNamedAsBeforeIsKept) {
  const auto file = make_json_file(path);
  file->write(created());
  file->flush();
  file->look_again();
  file->write(created());
  file->flush();
  EXPECT_EQ(lines_of(path).size(), 2u);
}

TEST_F(JsonFileTest, OnAFullDiskIsAProblemThatCountsLines) {
  const auto file = make_json_file("/dev/full");
  file->write(created());
  file->write(created());
  EXPECT_EQ(file->flush(), 2u);
  EXPECT_EQ(file->problem(), "/dev/full cannot be written: No space left on device");
}

TEST_F(JsonFileTest, WithoutADirectoryIsAProblemUntilThereIsOne) {
  const std::string deep = (directory / "not") + "/there.json";
  const auto file = make_json_file(deep);
  EXPECT_EQ(file->problem(), deep + " cannot be opened: No such file or directory");
  file->write(created());
  EXPECT_EQ(file->flush(), 1u);
  std::filesystem::create_directory(directory / "not");
  file->look_again();
  file->write(created());
  EXPECT_EQ(file->flush(), 0u);
  EXPECT_EQ(file->problem(), "");
  EXPECT_EQ(lines_of(deep).size(), 1u);
}

// A UDP socket of our own, and what has come to it.
struct Collector {
  Collector() : socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(socket.number(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t size = sizeof address;
    getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &size);
    port = std::to_string(ntohs(address.sin_port));
  }
  std::vector<std::uint8_t> next() {
    std::vector<std::uint8_t> bytes(65536);
    const ssize_t size = recv(socket.number(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return bytes;
  }
  FileDescriptor socket;
  std::string port;
};

TEST(Syslog, IsAMessageOfRfc5424) {
  Collector collector;
  const auto syslog = make_syslog("127.0.0.1", collector.port);
  syslog->write(created());
  EXPECT_EQ(syslog->flush(), 0u);
  const auto bytes = collector.next();
  const std::string text(bytes.begin(), bytes.end());
  EXPECT_TRUE(text.starts_with("<30>1 20")) << text;
  EXPECT_NE(text.find(" vmnatd " + std::to_string(getpid()) + " created - {\"time\":\""), std::string::npos)
      << text;
  EXPECT_TRUE(text.ends_with("\"remote\":\"9.9.9.9:53\"}")) << text;
}

TEST(Syslog, ToAHostWithoutAnAddressIsAProblem) {
  const auto syslog = make_syslog("collector.invalid", "514");
  syslog->write(created());
  EXPECT_EQ(syslog->flush(), 1u);
  EXPECT_TRUE(syslog->problem().starts_with("collector.invalid has no address: ")) << syslog->problem();
}

unsigned number_at(const std::vector<std::uint8_t>& bytes, std::size_t at) {
  return bytes.at(at) * 256u + bytes.at(at + 1);
}

TEST(Ipfix, MessagesHaveTemplatesFirstAndAllRecords) {
  Collector collector;
  const auto exporter = make_ipfix_exporter("127.0.0.1", collector.port);
  constexpr unsigned kRecords = 200;
  for (unsigned i = 0; i < kRecords; ++i) exporter->write(created());
  EXPECT_EQ(exporter->flush(), 0u) << exporter->problem();
  unsigned records = 0, templates = 0;
  for (auto bytes = collector.next(); !bytes.empty(); bytes = collector.next()) {
    ASSERT_LE(bytes.size(), 1400u);
    EXPECT_EQ(number_at(bytes, 0), 10u);  // RFC 7011 section 3.1
    EXPECT_EQ(number_at(bytes, 2), bytes.size());
    for (std::size_t at = 16; at < bytes.size(); at += number_at(bytes, at + 2)) {
      templates += number_at(bytes, at) == 2;
      if (number_at(bytes, at) == 256) records += (number_at(bytes, at + 2) - 4) / 28;
    }
  }
  EXPECT_EQ(records, kRecords);
  EXPECT_EQ(templates, 1u);
}

TEST(Ipfix, MarksAreNoRecords) {
  Collector collector;
  const auto exporter = make_ipfix_exporter("127.0.0.1", collector.port);
  exporter->write(mark(TranslationEvent::Started));
  EXPECT_EQ(exporter->flush(), 0u);
  EXPECT_TRUE(collector.next().empty());
}

}  // namespace
}  // namespace vmnat::control
