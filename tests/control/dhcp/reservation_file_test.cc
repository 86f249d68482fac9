// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/reservation_file.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "control/system/whole_file.h"

namespace vmnat::control {
namespace {

class ReservationFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "vmnat-reservations-XXXXXX").string();
    directory = mkdtemp(name.data());
    path = directory + "/reservations";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  std::string directory, path;
};

TEST_F(ReservationFileTest, WhatIsWrittenIsReadAgain) {
  const std::vector<dhcp::Reservation> written{
      {.mac = net::MacAddr{{0x52, 0x54, 0, 0, 0, 1}},
       .address = net::Ipv4Addr::of(10, 0, 0, 5),
       .hostname = "web"},
      {.mac = std::nullopt, .port = "vm2", .address = net::Ipv4Addr::of(10, 0, 0, 6), .hostname = ""}};
  ASSERT_TRUE(write_reservations(path, written));
  const ReservationFile read = read_reservations(path);
  EXPECT_EQ(read.damaged_lines, 0u);
  ASSERT_EQ(read.reservations.size(), 2u);
  EXPECT_EQ(read.reservations[0].mac, written[0].mac);
  EXPECT_EQ(read.reservations[0].hostname, "web");
  EXPECT_EQ(read.reservations[1].mac, std::nullopt);
  EXPECT_EQ(read.reservations[1].port, "vm2");
  EXPECT_EQ(read.reservations[1].address, written[1].address);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST_F(ReservationFileTest, DamagedLinesAreLeftOutAndNoFileIsEmpty) {
  EXPECT_TRUE(read_reservations(path).reservations.empty());
  std::ofstream(path)
      << "10.0.0.5 mac 52:54:00:00:00:01 -\n10.0.0.6 mac nonsense -\n10.0.0.7 cat vm -\n10.0\n";
  const ReservationFile read = read_reservations(path);
  EXPECT_EQ(read.reservations.size(), 1u);
  EXPECT_EQ(read.damaged_lines, 3u);
}

TEST_F(ReservationFileTest, AFileThatCannotBeWrittenIsSaidWithItsName) {
  const auto written = replace_file(directory + "/none/file", "text", Writing::Fast);
  ASSERT_FALSE(written);
  EXPECT_NE(to_string(written.error()).find("none/file"), std::string::npos);
}

}  // namespace
}  // namespace vmnat::control
