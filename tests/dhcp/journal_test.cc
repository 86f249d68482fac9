// SPDX-License-Identifier: Apache-2.0
// The journal: what was written is read, and what was damaged costs itself alone.
#include "dhcp/journal.h"

#include <gtest/gtest.h>

#include "tests/dhcp/request_frame.h"

namespace vmnat::dhcp::test {
namespace {

Lease sample(unsigned number) {
  return {.address = net::Ipv4Addr::from_host(ip("192.168.122.2").host() + number),
          .mac = mac_number(number),
          .hostname = "vm" + std::to_string(number),
          .client_id = hex("01 52 54 00 00 00 01"),
          .port = "port" + std::to_string(number),
          .expires = at_second(number),
          .state = LeaseState::Bound};
}
std::vector<Lease> samples(unsigned count) {
  std::vector<Lease> leases;
  for (unsigned i = 0; i < count; ++i) leases.push_back(sample(i));
  return leases;
}
Bytes journal_of(std::span<const Lease> leases) {
  Bytes bytes = journal_header();
  const Bytes records = journal_records(leases);
  bytes.insert(bytes.end(), records.begin(), records.end());
  return bytes;
}

TEST(Journal, WhatIsWrittenIsReadBack) {
  std::vector<Lease> leases = samples(5);
  leases[1].state = LeaseState::Declined;
  leases[2].hostname = leases[2].port = "";
  leases[3].client_id = Bytes(255, std::byte{0xff});
  const JournalContent content = read_journal(journal_of(leases));
  EXPECT_TRUE(content.is_journal);
  EXPECT_EQ(content.leases, leases);
  EXPECT_EQ(content.records, 5u);
  EXPECT_EQ(content.damaged_bytes, 0u);
}

TEST(Journal, TheLastRecordOfAnAddressCounts) {
  Lease first = sample(0), second = sample(0);
  second.mac = mac_number(9);
  second.state = LeaseState::Released;
  const Lease both[] = {first, second};
  EXPECT_EQ(read_journal(journal_of(both)).leases, std::vector{second});
}

TEST(Journal, ATornTailIsDroppedAndNothingElse) {
  const auto leases = samples(3);
  const Bytes whole = journal_of(leases);
  const std::size_t two = journal_of(std::span{leases}.first(2)).size();
  for (std::size_t size = two; size < whole.size(); ++size) {
    const JournalContent content = read_journal(ByteView{whole}.first(size));
    ASSERT_EQ(content.leases.size(), 2u) << size;
    ASSERT_EQ(content.damaged_bytes, size - two);
  }
}

TEST(Journal, RecordsAppendedBehindATornOneAreRead) {
  const auto leases = samples(3);
  Bytes bytes = journal_of(std::span{leases}.first(2));
  bytes.resize(bytes.size() - 5);
  const Bytes more = journal_records(std::span{leases}.last(1));
  bytes.insert(bytes.end(), more.begin(), more.end());
  EXPECT_EQ(read_journal(bytes).leases, (std::vector{leases[0], leases[2]}));
}

TEST(Journal, EveryDamagedByteCostsItsOwnRecordAlone) {
  const auto leases = samples(3);
  const Bytes whole = journal_of(leases);
  for (std::size_t i = journal_header().size(); i < whole.size(); ++i) {
    Bytes damaged = whole;
    damaged[i] ^= std::byte{0x41};
    ASSERT_EQ(read_journal(damaged).leases.size(), 2u) << "byte " << i;
  }
}

TEST(Journal, AForeignFileIsNotReadAsOne) {
  EXPECT_FALSE(read_journal({}).is_journal);
  EXPECT_FALSE(read_journal(bytes_of("1700000000 52:54:00:00:00:01 192.168.122.5 vm1 *\n")).is_journal);
  Bytes other_version = journal_of(samples(1));
  other_version[13] = std::byte{'2'};
  EXPECT_TRUE(read_journal(other_version).leases.empty());
  EXPECT_TRUE(read_journal(journal_header()).is_journal);
}

}  // namespace
}  // namespace vmnat::dhcp::test
