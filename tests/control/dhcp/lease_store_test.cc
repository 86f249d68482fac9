// SPDX-License-Identifier: Apache-2.0
// The lease store against crashes: what append() confirmed is there afterwards, whatever happened.
#include "control/dhcp/lease_store.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vmnat::control {
namespace {

using dhcp::Lease;
using dhcp::LeaseState;

class LeaseStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "vmnat-leases-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory = name;
    path = name + "/default.leases";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  static Lease lease(std::uint32_t number, LeaseState state = LeaseState::Bound) {
    return {.address = net::Ipv4Addr::from_host(0x0a000000 + number),
            .mac = {{0x52, 0x54, 0, 0, static_cast<std::uint8_t>(number >> 8),
                     static_cast<std::uint8_t>(number)}},
            .hostname = "vm",
            .port = "vm1",
            .expires = dhcp::WallTime{std::chrono::seconds{1'700'000'000}},
            .state = state};
  }
  void append_raw(std::string_view bytes) const {
    std::ofstream{path, std::ios::app | std::ios::binary} << bytes;
  }

  std::string directory;
  std::string path;
};

TEST_F(LeaseStoreTest, WhatWasAppendedIsFoundAgain) {
  {
    auto store = LeaseStore::open(path).value();
    EXPECT_TRUE(store.found().empty());
    const Lease leases[] = {lease(1), lease(2)};
    ASSERT_TRUE(store.append(leases));
    const Lease ended[] = {lease(1, LeaseState::Released)};
    ASSERT_TRUE(store.append(ended));
  }
  const auto store = LeaseStore::open(path).value();
  EXPECT_EQ(store.found(), (std::vector{lease(1, LeaseState::Released), lease(2)}));
}

TEST_F(LeaseStoreTest, ATornTailCostsItsRecordAloneAndIsGoneAfterOpening) {
  {
    auto store = LeaseStore::open(path).value();
    const Lease leases[] = {lease(1)};
    ASSERT_TRUE(store.append(leases));
  }
  append_raw("\xed\xe5\xa5\x1e torn");
  auto store = LeaseStore::open(path).value();
  EXPECT_EQ(store.found(), std::vector{lease(1)});
  EXPECT_EQ(store.damaged_bytes(), 9u);
  EXPECT_EQ(LeaseStore::open(path).value().damaged_bytes(), 0u);
}

TEST_F(LeaseStoreTest, AFileThatIsNoJournalIsRefusedAndKept) {
  append_raw("1700000000 52:54:00:00:00:01 10.0.0.1 vm *\n");
  const auto size = std::filesystem::file_size(path);
  const auto store = LeaseStore::open(path);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().where, path);
  EXPECT_EQ(std::filesystem::file_size(path), size);
}

TEST_F(LeaseStoreTest, ADirectoryThatIsNotThereIsAnErrorThatNamesIt) {
  const auto store = LeaseStore::open(directory + "/missing/default.leases");
  ASSERT_FALSE(store);
  EXPECT_EQ(
      to_string(store.error()),
      directory + "/missing/default.leases: the lease journal cannot be written: No such file or directory");
}

TEST_F(LeaseStoreTest, CompactionKeepsWhatLastsAndLaterAppendsGoToTheNewFile) {
  auto store = LeaseStore::open(path).value();
  const Lease same[] = {lease(1)};
  while (!store.wants_compaction()) {
    std::vector<Lease> burst(1000, same[0]);
    ASSERT_TRUE(store.append(burst));
  }
  const Lease live[] = {lease(1), lease(2, LeaseState::Offered), lease(3, LeaseState::Reserved),
                        lease(4, LeaseState::Declined)};
  ASSERT_TRUE(store.compact(live));
  EXPECT_LT(store.size(), 300u);
  EXPECT_FALSE(store.wants_compaction());
  const Lease later[] = {lease(5)};
  ASSERT_TRUE(store.append(later));
  EXPECT_EQ(LeaseStore::open(path).value().found(),
            (std::vector{lease(1), lease(4, LeaseState::Declined), lease(5)}));
}

// A child appends lease after lease and says so on a pipe; it is killed at any moment.
TEST_F(LeaseStoreTest, NoConfirmedLeaseIsLostByKill9) {
  std::uint32_t next = 1;
  for (int round = 0; round < 20; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = LeaseStore::open(path);
      for (std::uint32_t number = next; store; ++number) {
        const Lease leases[] = {lease(number)};
        if (!store->append(leases) || write(ends[1], &number, sizeof(number)) != sizeof(number)) break;
        if (number % 16 == 0 && !store->compact(LeaseStore::open(path)->found())) break;
      }
      _exit(1);
    }
    close(ends[1]);
    std::uint32_t confirmed = 0;
    for (int i = 0; i < 5 + round; ++i) ASSERT_EQ(read(ends[0], &confirmed, sizeof(confirmed)), 4);
    ASSERT_EQ(kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (read(ends[0], &confirmed, sizeof(confirmed)) == 4) {
    }
    close(ends[0]);

    const auto found = LeaseStore::open(path).value().found();
    ASSERT_GE(found.size(), confirmed) << "round " << round;
    for (std::uint32_t number = 1; number <= confirmed; ++number) ASSERT_EQ(found[number - 1], lease(number));
    next = static_cast<std::uint32_t>(found.size()) + 1;
  }
}

TEST_F(LeaseStoreTest, AFullDiskIsAnErrorAndLeavesTheJournalWhole) {
  auto store = LeaseStore::open(path).value();
  const Lease first[] = {lease(1)};
  ASSERT_TRUE(store.append(first));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{store.size() + 10, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  const Lease second[] = {lease(2)};
  const auto refused = store.append(second);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(refused);
  EXPECT_EQ(std::filesystem::file_size(path), store.size());
  const Lease third[] = {lease(3)};
  ASSERT_TRUE(store.append(third));  // and goes on when there is room again
  const auto again = LeaseStore::open(path).value();
  EXPECT_EQ(again.found(), (std::vector{lease(1), lease(3)}));
  EXPECT_EQ(again.damaged_bytes(), 0u);
}

}  // namespace
}  // namespace vmnat::control
