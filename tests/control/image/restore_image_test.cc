// SPDX-License-Identifier: Apache-2.0
// From one configuration to another, and from damaged images: which sessions go on, on which worker.
#include <gtest/gtest.h>
#include <set>
#include <unistd.h>

#include "tests/control/image/image_bed.h"

namespace vmnat::control {
namespace {

using conntrack::Revival;
using conntrack::Revivals;
using conntrack::SessionView;

constexpr auto kGre = static_cast<net::Protocol>(47);
constexpr unsigned kSessions = 25;

unsigned count_of(const Revivals& counts, Revival revival) {
  return counts[static_cast<unsigned>(revival)];
}
std::uint64_t total(const Revivals& counts) {
  std::uint64_t sum = 0;
  for (const std::uint32_t count : counts) sum += count;
  return sum;
}

// No two sessions have one external endpoint towards one remote, on whatever worker.
bool are_external_tuples_distinct(const Bed& bed) {
  std::set<std::tuple<std::uint64_t, std::uint64_t, net::Protocol>> tuples;
  const auto sessions = bed.sessions();
  for (const SessionView& session : sessions)
    tuples.insert({conntrack::FlowKey::pack(session.external), conntrack::FlowKey::pack(session.remote),
                   session.protocol});
  return tuples.size() == sessions.size();
}

// A few sessions of every kind, in an image whose process has been killed.
std::string killed_with_sessions(const MemoryDirectory& directory, unsigned workers = 1,
                                 const std::string& configuration = kTwoNetworksWithAForward) {
  const std::string path = directory.file("a.sessions");
  SessionImage image = new_image(path, workers);
  Bed bed(configuration, workers, records_of(image, workers));
  image.set_names(bed.names());
  image.set_totals(some_totals());
  EXPECT_TRUE(image.take_effect());
  for (unsigned i = 0; i < 8; ++i) {
    bed.open("vm1", "192.168.122.10", 40000 + i);
    bed.open("vm2", "192.168.122.11", 50000 + i, net::Protocol::Tcp);
    bed.open("vm3", "192.168.5.10", 60000 + i, net::Protocol::Icmp);
  }
  bed.open("vm1", "192.168.122.10", 0, kGre);
  return path;
}

std::string with(std::string text, const std::string& what, const std::string& instead) {
  return text.replace(text.find(what), what.size(), instead);
}

TEST(RestoreImage, AllGoOnInTheSameConfiguration) {
  const MemoryDirectory directory;
  const auto image = read_image(killed_with_sessions(directory));
  Bed after(kTwoNetworksWithAForward);
  const Revivals counts = after.restore(*image);
  EXPECT_EQ(count_of(counts, Revival::Restored), kSessions);
  EXPECT_EQ(total(counts), kSessions);
  EXPECT_EQ(after.broken_invariant(), "");
  EXPECT_EQ(to_string(counts), "25 sessions go on");
}

TEST(RestoreImage, PortsAndNetworksAreFoundByName) {
  const MemoryDirectory directory;
  const auto image = read_image(killed_with_sessions(directory));
  const std::string renumbered =
      config::kUplink +
      "networks:\n"
      "  - {name: more, address: 192.168.7.1/24, ports: [{name: vm9, vhost_user: /tmp/vm9.sock}]}\n"
      "  - {name: lab, address: 192.168.5.1/24, ports: [{name: vm3, vhost_user: /tmp/vm3.sock}]}\n"
      "  - name: default\n"
      "    address: 192.168.122.1/24\n"
      "    ports: [{name: vm2, vhost_user: /tmp/vm2.sock}, {name: vm1, vhost_user: /tmp/vm1.sock}]\n";
  Bed after(renumbered);
  EXPECT_EQ(count_of(after.restore(*image), Revival::Restored), kSessions);
  for (const SessionView& session : after.sessions()) {
    const bool is_lab = session.internal.address == net::Ipv4Addr::of(192, 168, 5, 10);
    const bool is_vm1 = session.internal.address == net::Ipv4Addr::of(192, 168, 122, 10);
    EXPECT_EQ(session.policy, is_lab ? 1 : 2);
    EXPECT_EQ(session.vm_port, after.port(is_lab ? "vm3" : is_vm1 ? "vm1" : "vm2"));
  }
}

TEST(RestoreImage, WhatTheConfigurationNoLongerHasEnds) {
  const MemoryDirectory directory;
  const std::string path = killed_with_sessions(directory);
  const struct {
    const char* says;
    std::string what, instead;
    Revival revival;
    unsigned count;
  } cases[] = {
      {"a port is gone", "{name: vm2, ", "{name: vm7, ", Revival::NoPort, 8},
      {"a network is gone", "name: lab", "name: laboratory", Revival::NoNetwork, 8},
      {"a network is isolated", "192.168.5.1/24\n", "192.168.5.1/24\n    forward: none\n", Revival::NoNetwork,
       8},
      {"a network has other addresses", "192.168.5.1/24", "192.168.6.1/24", Revival::NotInside, 8},
      {"a network lies where the remote is", "192.168.5.1/24", "198.51.100.129/24", Revival::NotInside, 25},
      {"the uplink has another address", "203.0.113.2/24", "203.0.113.3/24", Revival::NotExternal, 25},
      {"a port is a forward's now", "port: 8080", "port: 40001", Revival::NotExternal, 1},
  };
  for (const auto& one : cases) {
    Bed after(with(kTwoNetworksWithAForward, one.what, one.instead));
    const Revivals counts = after.restore(*read_image(path));
    EXPECT_EQ(count_of(counts, one.revival), one.count) << one.says;
    EXPECT_EQ(count_of(counts, Revival::Restored), kSessions - one.count) << one.says;
    EXPECT_EQ(after.broken_invariant(), "") << one.says;
  }
}

TEST(RestoreImage, SessionsOfAVmsOwnAddressGoOnWhereItIsStillTheVms) {
  const MemoryDirectory directory;
  const std::string own =
      with(kTwoNetworksWithAForward, "nat: {forwards",
           "nat: {static: [{internal: 192.168.122.11, external: 203.0.113.20}], forwards");
  const std::string path = killed_with_sessions(directory, 2, own);
  const struct {
    const char* says;
    std::string text;
    unsigned lost;
  } cases[] = {
      {"as it was", own, 0},
      {"another address", with(own, "203.0.113.20", "203.0.113.21"), 8},
      {"another VM's", with(own, "192.168.122.11", "192.168.122.12"), 8},
      {"in the pool",
       with(kTwoNetworksWithAForward, "nat: {forwards",
            "nat: {addresses: [203.0.113.2, 203.0.113.20], forwards"),
       0},
      {"nobody's", kTwoNetworksWithAForward, 8},
  };
  for (const auto& one : cases) {
    Bed after(one.text, 2);
    const Revivals counts = after.restore(*read_image(path));
    EXPECT_EQ(count_of(counts, Revival::NotExternal), one.lost) << one.says;
    EXPECT_EQ(count_of(counts, Revival::Restored), kSessions - one.lost) << one.says;
    EXPECT_EQ(after.broken_invariant(), "") << one.says;
  }
}

TEST(RestoreImage, SessionsAreOnTheWorkerThatTheirFramesComeTo) {
  const MemoryDirectory directory;
  for (const unsigned before : {1u, 2u, 3u}) {
    const auto image = read_image(killed_with_sessions(directory, before));
    Bed after(kTwoNetworksWithAForward, 2);
    const Revivals counts = after.restore(*image);
    EXPECT_EQ(count_of(counts, Revival::Restored) + count_of(counts, Revival::PortTaken), kSessions);
    EXPECT_EQ(after.broken_invariant(), "");
    for (unsigned worker = 0; worker < 2; ++worker)
      for (const SessionView& session : conntrack::views_of(after.table(worker)))
        EXPECT_TRUE(session.protocol == kGre || session.vm_port % 2 == worker);
  }
}

TEST(RestoreImage, WithAsManyWorkersNoneIsLost) {
  const MemoryDirectory directory;
  const auto image = read_image(killed_with_sessions(directory, 2));
  Bed after(kTwoNetworksWithAForward, 2);
  EXPECT_EQ(count_of(after.restore(*image), Revival::Restored), kSessions);
}

TEST(RestoreImage, APortStaysWithItsWorkerWhereverItStandsInTheFile) {
  const MemoryDirectory directory;
  const auto image = read_image(killed_with_sessions(directory, 2));
  const config::Config one_more =
      config::load_text(with(kTwoNetworksWithAForward, "[{name: vm1, ",
                             "[{name: vm0, vhost_user: /tmp/vm0.sock}, {name: vm1, "))
          .value();
  Bed after(one_more, 2, {}, image->names());
  EXPECT_EQ(count_of(after.restore(*image), Revival::Restored), kSessions);
  EXPECT_EQ(after.broken_invariant(), "");
}

TEST(RestoreImage, ARecordThatWasBeingWrittenIsLeftOut) {
  const MemoryDirectory directory;
  const std::string path = killed_with_sessions(directory);
  constexpr std::size_t kVersionAt = kRecordsAt + 4 * sizeof(std::uint64_t) + 6;
  const FileDescriptor file{open(path.c_str(), O_RDWR | O_CLOEXEC)};
  std::uint16_t version = 0;
  ASSERT_EQ(pread(file.number(), &version, sizeof version, kVersionAt), 2);
  ++version;
  ASSERT_EQ(pwrite(file.number(), &version, sizeof version, kVersionAt), 2);
  Bed after(kTwoNetworksWithAForward);
  const Revivals counts = after.restore(*read_image(path));
  EXPECT_EQ(count_of(counts, Revival::Torn), 1u);
  EXPECT_EQ(to_string(counts), "24 sessions go on, 1 do not: 1 torn");
}

// Each byte in turn that an image holds anything in.
TEST(RestoreImage, ADamagedOneGivesNoTwoSessionsOneTuple) {
  const MemoryDirectory directory;
  const std::string path = killed_with_sessions(directory, 2);
  const FileDescriptor file{open(path.c_str(), O_RDWR | O_CLOEXEC)};
  std::vector<std::size_t> places;
  const auto add = [&](std::size_t from, std::size_t bytes) {
    for (std::size_t at = from; at < from + bytes; ++at) places.push_back(at);
  };
  add(0, sizeof(ImageHeader));
  add(kNamesAt + kNamesBytes, 160);
  for (unsigned worker = 0; worker < 2; ++worker)
    add(records_of_worker_at(worker, Bed::kCapacity), 17 * sizeof(conntrack::Session));
  for (const std::size_t place : places) {
    std::uint8_t was = 0;
    ASSERT_EQ(pread(file.number(), &was, 1, static_cast<off_t>(place)), 1);
    const std::uint8_t flipped = was ^ static_cast<std::uint8_t>(1u << place % 8);
    ASSERT_EQ(pwrite(file.number(), &flipped, 1, static_cast<off_t>(place)), 1);
    Bed after(kTwoNetworksWithAForward, 2);
    if (const auto image = read_image(path)) after.restore(*image);
    ASSERT_TRUE(are_external_tuples_distinct(after)) << "byte " << place;
    ASSERT_EQ(after.broken_invariant(), "") << "byte " << place;
    ASSERT_LE(after.sessions().size(), kSessions + 0u) << "byte " << place;
    ASSERT_EQ(pwrite(file.number(), &was, 1, static_cast<off_t>(place)), 1);
  }
}

// Nor does a damage of the totals end a session, or change a count.
TEST(RestoreImage, DamagedTotalsAreLeftOutAndNoSession) {
  const MemoryDirectory directory;
  const std::string path = killed_with_sessions(directory, 2);
  const FileDescriptor file{open(path.c_str(), O_RDWR | O_CLOEXEC)};
  const std::size_t copy = totals_at(2, Bed::kCapacity) + kTotalsBytes;
  const std::size_t bytes = sizeof(CopyHeader) + to_json(some_totals()).size();
  EXPECT_EQ(read_image(path)->totals(), some_totals());
  for (std::size_t place = copy; place < copy + bytes; ++place) {
    std::uint8_t was = 0;
    ASSERT_EQ(pread(file.number(), &was, 1, static_cast<off_t>(place)), 1);
    const std::uint8_t flipped = was ^ static_cast<std::uint8_t>(1u << place % 8);
    ASSERT_EQ(pwrite(file.number(), &flipped, 1, static_cast<off_t>(place)), 1);
    const auto image = read_image(path);
    ASSERT_TRUE(image) << "byte " << place;
    const auto totals = image->totals();
    ASSERT_FALSE(totals) << "byte " << place;
    ASSERT_EQ(totals.error().what, "what was kept of them is damaged");
    Bed after(kTwoNetworksWithAForward, 2);
    ASSERT_EQ(count_of(after.restore(*image), Revival::Restored), kSessions) << "byte " << place;
    ASSERT_EQ(pwrite(file.number(), &was, 1, static_cast<off_t>(place)), 1);
  }
  EXPECT_EQ(read_image(path)->totals(), some_totals());
}

TEST(RestoreImage, ATruncatedOneGivesWhatIsWhole) {
  const MemoryDirectory directory;
  const std::string path = killed_with_sessions(directory);
  constexpr std::size_t kEnd = kRecordsAt + kSessions * sizeof(conntrack::Session);
  std::size_t restored_before = kSessions;
  for (std::size_t bytes = kEnd + 64; bytes > kRecordsAt; bytes -= 16) {
    std::filesystem::resize_file(path, bytes);
    Bed after(kTwoNetworksWithAForward);
    const std::size_t restored = count_of(after.restore(*read_image(path)), Revival::Restored);
    ASSERT_EQ(restored, std::min<std::size_t>((bytes - kRecordsAt) / sizeof(conntrack::Session), kSessions));
    ASSERT_LE(restored, restored_before);
    restored_before = restored;
    ASSERT_EQ(after.broken_invariant(), "");
  }
  for (std::size_t bytes = kNamesAt + kNamesBytes + 400; bytes-- > kNamesAt + kNamesBytes;) {
    std::filesystem::resize_file(path, bytes);
    if (const auto image = read_image(path)) {
      EXPECT_EQ(image->names().ports.size(), 4u);
    }
  }
  for (std::size_t bytes = sizeof(ImageHeader) + 1; bytes-- > 0;) {
    std::filesystem::resize_file(path, bytes);
    EXPECT_FALSE(read_image(path));
  }
}

}  // namespace
}  // namespace vmnat::control
