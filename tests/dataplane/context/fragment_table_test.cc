// SPDX-License-Identifier: Apache-2.0
// The fragment table alone, with the clock in hand: verdicts, bounds, and a model that remembers every byte.
#include "dataplane/context/fragment_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::FragmentTable;
using dataplane::Lead;
using dataplane::PacketKind;
using dataplane::Piece;
using Fate = FragmentTable::Fate;

constexpr std::size_t kPorts = 4;

class FragmentTableTest : public ::testing::Test {
 protected:
  void TearDown() override {
    table.clear();
    EXPECT_EQ(rte_mempool_avail_count(packet_pool()), buffers) << "every frame is freed";
  }

  static Piece piece(std::uint16_t id, unsigned begin, unsigned end, bool is_last = false,
                     PortIndex port = 1) {
    return {.key = {.addresses = 7, .rest = id | std::uint64_t{port} << 32},
            .port = port,
            .begin = static_cast<std::uint16_t>(begin),
            .end = static_cast<std::uint16_t>(end),
            .is_last = is_last};
  }
  static Lead lead(std::uint16_t port) {
    return {.local_port = net::L4Port::from_host(port), .kind = PacketKind::LaterFragment};
  }
  rte_mbuf* frame() { return rte_pktmbuf_alloc(packet_pool()); }

  Fate first(const Piece& at, std::uint16_t port = 5000) {
    return noted(table.admit_first(at, lead(port), now));
  }
  Fate later(const Piece& at) {
    rte_mbuf* const carried = frame();
    const Fate fate = noted(table.admit_later(at, carried, now));
    if (fate != Fate::Held) rte_pktmbuf_free(carried);
    return fate;
  }
  Fate noted(const FragmentTable::Verdict& verdict) {
    last = verdict;
    return verdict.fate;
  }
  unsigned take_released() {
    unsigned count = 0;
    for (rte_mbuf* released = nullptr; table.take_released(&released, 1) == 1; ++count)
      rte_pktmbuf_free(released);
    return count;
  }
  void wait(unsigned ticks) {
    now += Ticks{ticks};
    for (unsigned i = 0; i < 200; ++i) table.expire(now);
  }
  std::uint64_t dropped(PortIndex port, DropReason reason) const {
    return counters.ports[port].drops[index_of(reason)].get();
  }

  const unsigned buffers = rte_mempool_avail_count(packet_pool());
  dataplane::WorkerCounters counters{kPorts};
  FragmentTable table{{.seed = 3,
                       .ports = kPorts,
                       .datagrams = 16,
                       .frames = 12,
                       .vm = {.datagrams = 6, .buffers = 5},
                       .uplink = {.datagrams = 8, .buffers = 7}},
                      counters};
  Time now{Ticks{1000}};
  FragmentTable::Verdict last{};
};

TEST_F(FragmentTableTest, GivesTheFirstFragmentsLeadToLaterOnesAndForgetsTheDatagramWhenAllHaveCome) {
  EXPECT_EQ(first(piece(1, 0, 16), 5001), Fate::Pass);
  EXPECT_EQ(first(piece(2, 0, 16), 5002), Fate::Pass);
  EXPECT_EQ(later(piece(1, 16, 32)), Fate::Pass);
  EXPECT_EQ(last.lead.local_port.host(), 5001);
  EXPECT_EQ(later(piece(2, 16, 20, true)), Fate::Pass);
  EXPECT_EQ(last.lead.local_port.host(), 5002);
  EXPECT_EQ(table.datagrams(), 1u);
  EXPECT_EQ(later(piece(1, 32, 33, true)), Fate::Pass);
  EXPECT_EQ(table.datagrams(), 0u);
}

TEST_F(FragmentTableTest, HoldsWhatComesBeforeTheFirstAndReleasesItInItsOrder) {
  rte_mbuf* const held[] = {frame(), frame()};
  EXPECT_EQ(table.admit_later(piece(1, 32, 48, true), held[0], now).fate, Fate::Held);
  EXPECT_EQ(table.admit_later(piece(1, 16, 32), held[1], now).fate, Fate::Held);
  EXPECT_FALSE(table.has_released());
  EXPECT_EQ(counters.fragments_held.get(), 2u);
  EXPECT_EQ(first(piece(1, 0, 16), 77), Fate::Pass);
  EXPECT_EQ(counters.fragments_held.get(), 0u);
  EXPECT_TRUE(table.has_released());
  rte_mbuf* released[3];
  ASSERT_EQ(table.take_released(released, 3), 2u);
  for (unsigned i = 0; i < 2; ++i) {
    EXPECT_EQ(released[i], held[i]);
    const dataplane::FrameNote note = dataplane::note_of(released[i]);
    EXPECT_EQ(note.port, 1);
    EXPECT_EQ(note.errand, dataplane::FrameNote::Errand::ReleasedOutbound);
    EXPECT_EQ(note.local_port.host(), 77);
    rte_pktmbuf_free(released[i]);
  }
  EXPECT_FALSE(table.has_released());
  EXPECT_EQ(table.datagrams(), 0u);
}

TEST_F(FragmentTableTest, DropsCopiesAndKeepsTheDatagram) {
  EXPECT_EQ(first(piece(1, 0, 16)), Fate::Pass);
  EXPECT_EQ(first(piece(1, 0, 16), 6666), Fate::Refused);
  EXPECT_EQ(last.reason, DropReason::FragmentDuplicate);
  EXPECT_EQ(later(piece(1, 16, 24)), Fate::Pass);
  EXPECT_EQ(later(piece(1, 8, 24)), Fate::Refused) << "within what has come";
  EXPECT_EQ(last.reason, DropReason::FragmentDuplicate);
  EXPECT_EQ(later(piece(1, 24, 25, true)), Fate::Pass);
  EXPECT_EQ(last.lead.local_port.host(), 5000);
}

TEST_F(FragmentTableTest, CondemnsADatagramWhoseFragmentsContradictEachOther) {
  struct Case {
    const char* says;
    Piece before, bad;
  };
  const Case cases[] = {{"into the first", piece(1, 0, 24), piece(1, 16, 32)},
                        {"over the next", piece(1, 16, 32), piece(1, 8, 24)},
                        {"around another", piece(1, 16, 24), piece(1, 8, 32)},
                        {"beyond the end", piece(1, 16, 20, true), piece(1, 24, 32)},
                        {"a second end", piece(1, 16, 20, true), piece(1, 32, 40, true)},
                        {"an end before what has come", piece(1, 32, 40), piece(1, 8, 16, true)}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.says);
    c.before.begin == 0 ? first(c.before) : later(c.before);
    const std::uint64_t drops = dropped(1, DropReason::FragmentOverlap);
    EXPECT_EQ(later(c.bad), Fate::Refused);
    EXPECT_EQ(last.reason, DropReason::FragmentOverlap);
    EXPECT_EQ(dropped(1, DropReason::FragmentOverlap) - drops, c.before.begin == 0 ? 0u : 1u)
        << "what waited is dropped";
    EXPECT_EQ(later(piece(1, 800, 808)), Fate::Refused) << "and whatever else comes of it";
    EXPECT_EQ(first(piece(1, 0, 8)), Fate::Refused);
    EXPECT_EQ(last.reason, DropReason::FragmentOverlap);
    wait(FragmentTable::kPatience.count());
    EXPECT_EQ(table.datagrams(), 0u);
  }
}

TEST_F(FragmentTableTest, DropsLaterFragmentsForTheReasonThatTheFirstWasCondemnedFor) {
  EXPECT_EQ(later(piece(1, 16, 24)), Fate::Held);
  table.condemn(piece(1, 0, 8), DropReason::FragmentTiny, now);
  EXPECT_EQ(dropped(1, DropReason::FragmentTiny), 1u);
  EXPECT_EQ(later(piece(1, 24, 32)), Fate::Refused);
  EXPECT_EQ(last.reason, DropReason::FragmentTiny);
}

TEST_F(FragmentTableTest, ForgetsADatagramTwoSecondsAfterItsLatestFragment) {
  const auto patience = static_cast<unsigned>(FragmentTable::kPatience.count());
  EXPECT_EQ(patience, 32u);
  EXPECT_EQ(later(piece(1, 16, 24)), Fate::Held);
  EXPECT_EQ(first(piece(2, 0, 16)), Fate::Pass);
  wait(patience - 1);
  EXPECT_EQ(later(piece(1, 24, 32)), Fate::Held);
  wait(1);
  EXPECT_EQ(table.datagrams(), 1u) << "the second one is gone, in silence";
  wait(patience - 2);
  EXPECT_EQ(counters.fragments_held.get(), 2u);
  wait(1);
  EXPECT_EQ(table.datagrams(), 0u);
  EXPECT_EQ(dropped(1, DropReason::FragmentTimeout), 2u);
  EXPECT_EQ(later(piece(1, 32, 40)), Fate::Held) << "as if nothing had been";
}

TEST_F(FragmentTableTest, MakesRoomAtThePortsOwnExpense) {
  EXPECT_EQ(later(piece(1, 16, 24, false, 2)), Fate::Held);
  for (std::uint16_t id = 0; id < 40; ++id) EXPECT_EQ(later(piece(id, 16, 24)), Fate::Held);
  EXPECT_EQ(counters.fragments_held.get(), 6u);
  EXPECT_EQ(dropped(1, DropReason::FragmentQuota), 35u);
  for (std::uint16_t id = 35; id < 40; ++id) EXPECT_EQ(first(piece(id, 0, 16)), Fate::Pass) << "the newest";
  EXPECT_EQ(take_released(), 5u);
  EXPECT_EQ(first(piece(1, 0, 16, false, 2)), Fate::Pass) << "another port's";
  EXPECT_EQ(take_released(), 1u);
  for (std::uint16_t id = 100; id < 140; ++id) EXPECT_EQ(first(piece(id, 0, 16)), Fate::Pass);
  EXPECT_EQ(table.datagrams(), 7u) << "six of port 1 at most";
}

TEST_F(FragmentTableTest, CondemnsADatagramThatAloneIsMoreThanMayWait) {
  for (unsigned i = 1; i <= 5; ++i) EXPECT_EQ(later(piece(1, 16 * i, 16 * i + 8)), Fate::Held);
  EXPECT_EQ(later(piece(1, 400, 408)), Fate::Refused);
  EXPECT_EQ(last.reason, DropReason::FragmentQuota);
  EXPECT_EQ(dropped(1, DropReason::FragmentQuota), 5u);
  EXPECT_EQ(counters.fragments_held.get(), 0u);
}

TEST_F(FragmentTableTest, KeepsEachPortItsPartWhateverTheOthersHold) {
  for (const PortIndex port : {1, 2, 0})
    for (std::uint16_t id = 0; id < 20; ++id) first(piece(id, 0, 16, false, port));
  EXPECT_EQ(table.datagrams(), 14u) << "two are kept for port 3";
  for (std::uint16_t id = 0; id < 2; ++id) {
    EXPECT_EQ(first(piece(id, 0, 16, false, 3)), Fate::Pass);
    EXPECT_EQ(later(piece(id, 16, 24, false, 3)), Fate::Pass);
  }
  EXPECT_EQ(table.datagrams(), 16u);
  EXPECT_EQ(first(piece(9, 0, 16, false, 3)), Fate::Pass) << "who has some gives one up";
  EXPECT_EQ(first(piece(30, 0, 16, false, 1)), Fate::Pass);
  EXPECT_EQ(table.datagrams(), 16u);
}

TEST_F(FragmentTableTest, PartsFollowTheNumberOfPorts) {
  table.share_among(2);
  for (const PortIndex port : {1, 2})
    for (std::uint16_t id = 0; id < 20; ++id) first(piece(id, 0, 16, false, port));
  EXPECT_EQ(table.datagrams(), 12u) << "each has its quota, and four are kept for each of two";
  table.share_among(4);
  for (std::uint16_t id = 0; id < 20; ++id) first(piece(id, 0, 16, false, 3));
  for (std::uint16_t id = 0; id < 20; ++id) first(piece(id, 0, 16, false, 0));
  EXPECT_EQ(table.datagrams(), 16u) << "the two that came have what is left";
  wait(FragmentTable::kPatience.count());
  EXPECT_EQ(table.datagrams(), 0u);
  table.share_among(4);
  for (const PortIndex port : {1, 2, 0})
    for (std::uint16_t id = 0; id < 20; ++id) first(piece(id, 0, 16, false, port));
  EXPECT_EQ(table.datagrams(), 14u) << "as if there had been four all the time";
}

TEST_F(FragmentTableTest, KeepsEachPortPlacesForFramesThatWait) {
  for (const PortIndex port : {1, 2, 0})
    for (std::uint16_t id = 0; id < 20; ++id) later(piece(id, 16, 24, false, port));
  EXPECT_EQ(counters.fragments_held.get(), 11u) << "one is kept for port 3";
  EXPECT_EQ(later(piece(1, 16, 24, false, 3)), Fate::Held);
  EXPECT_EQ(first(piece(1, 0, 16, false, 3)), Fate::Pass);
  EXPECT_EQ(take_released(), 1u);
}

// As many as flood, and one that has a datagram now and then: nine, and two hundred.
TEST_F(FragmentTableTest, AFloodOfAllOtherPortsDeniesNoneItsFragments) {
  for (const std::size_t ports : {9u, 200u, 3000u}) {
    dataplane::WorkerCounters counted(ports);
    FragmentTable roomy({.seed = 9, .ports = ports}, counted);
    const auto victim = static_cast<PortIndex>(ports - 1);
    std::vector<rte_mbuf*> refused;
    for (unsigned id = 0; id < 3000; ++id) {
      const auto flooder = static_cast<PortIndex>(id % (ports - 1));
      for (const bool is_first : {true, false}) {
        const Piece flood =
            piece(static_cast<std::uint16_t>(2 * id + is_first), is_first ? 0 : 16, 24, false, flooder);
        rte_mbuf* const carried = frame();
        ASSERT_NE(carried, nullptr);
        const auto verdict =
            is_first ? roomy.admit_first(flood, lead(1), now) : roomy.admit_later(flood, carried, now);
        if (verdict.fate != Fate::Held) rte_pktmbuf_free(carried);
      }
    }
    rte_mbuf* const early = frame();
    EXPECT_EQ(roomy.admit_later(piece(1, 16, 24, true, victim), early, now).fate, Fate::Held) << ports;
    EXPECT_EQ(roomy.admit_first(piece(1, 0, 16, false, victim), lead(1), now).fate, Fate::Pass) << ports;
    ASSERT_TRUE(roomy.has_released());
    rte_mbuf* released = nullptr;
    EXPECT_EQ(roomy.take_released(&released, 1), 1u);
    rte_pktmbuf_free(released);
    roomy.clear();
  }
}

TEST_F(FragmentTableTest, CondemnsADatagramWithMoreGapsThanItKeepsTrackOf) {
  EXPECT_EQ(first(piece(1, 0, 8)), Fate::Pass);
  for (unsigned i = 1; i < 32; ++i) EXPECT_EQ(later(piece(1, 16 * i, 16 * i + 8)), Fate::Pass);
  EXPECT_EQ(later(piece(1, 8, 16)), Fate::Pass) << "one gap less";
  EXPECT_EQ(later(piece(1, 1600, 1608)), Fate::Pass);
  EXPECT_EQ(later(piece(1, 3200, 3208)), Fate::Refused);
  EXPECT_EQ(last.reason, DropReason::FragmentScattered);
}

// Remembers every byte of every datagram; knows nothing of runs, lists and quotas.
struct Model {
  struct Datagram {
    std::set<unsigned> bytes;
    unsigned end = 0;
    bool is_led = false, is_condemned = false;
    unsigned held = 0;
  };
  std::map<std::uint16_t, Datagram> datagrams;

  Fate admit(std::uint16_t id, const Piece& piece) {
    Datagram& datagram = datagrams[id];
    unsigned known = 0;
    for (unsigned at = piece.begin; at < piece.end; ++at) known += datagram.bytes.contains(at) ? 1u : 0u;
    const unsigned size = piece.end - piece.begin;
    if (!datagram.is_condemned && known == size) return Fate::Refused;
    const unsigned highest = datagram.bytes.empty() ? 0 : *datagram.bytes.rbegin() + 1;
    const bool is_end_wrong =
        datagram.end != 0 ? piece.is_last || piece.end > datagram.end : piece.is_last && highest > piece.end;
    if (datagram.is_condemned || known != 0 || is_end_wrong) {
      datagram.is_condemned = true;
      datagram.held = 0;
      return Fate::Refused;
    }
    for (unsigned at = piece.begin; at < piece.end; ++at) datagram.bytes.insert(at);
    if (piece.is_last) datagram.end = piece.end;
    if (piece.begin == 0) {
      datagram.is_led = true;
      datagram.held = 0;
    }
    if (!datagram.is_led) return ++datagram.held, Fate::Held;
    if (datagram.bytes.size() == datagram.end) datagrams.erase(id);
    return Fate::Pass;
  }
  [[nodiscard]] unsigned held() const {
    unsigned sum = 0;
    for (const auto& [id, datagram] : datagrams) sum += datagram.held;
    return sum;
  }
};

TEST_F(FragmentTableTest, AgreesWithAModelThatRemembersEveryByte) {
  FragmentTable roomy({.seed = 9, .ports = kPorts}, counters);
  Model model;
  std::mt19937 random(20240611);
  const auto below = [&](unsigned bound) { return static_cast<unsigned>(random() % bound); };
  unsigned passed = 0;
  for (unsigned step = 0; step < 200'000; ++step) {
    const auto id = static_cast<std::uint16_t>(below(40));
    const unsigned slot = 16 * below(6), wild = 8 * below(12);  // a datagram of six slots, and what is not
    const bool is_last = below(6) == 0;
    const Piece at = below(16) != 0
                         ? piece(id, slot, slot + 16, slot == 80)
                         : piece(id, wild, wild + 8 + 8 * below(4) - (is_last ? below(8) : 0), is_last);
    rte_mbuf* const carried = frame();
    const auto verdict =
        at.begin == 0 ? roomy.admit_first(at, lead(id), now) : roomy.admit_later(at, carried, now);
    ASSERT_EQ(verdict.fate, model.admit(id, at)) << "step " << step;
    if (verdict.fate != Fate::Held) rte_pktmbuf_free(carried);
    if (verdict.fate == Fate::Pass) {
      ASSERT_EQ(verdict.lead.local_port.host(), id);
      ++passed;
    }
    for (rte_mbuf* released = nullptr; roomy.take_released(&released, 1) == 1;) rte_pktmbuf_free(released);
    ASSERT_EQ(counters.fragments_held.get(), model.held());
    if (below(400) == 0) {  // all at once, so that the model need not know the order
      now += FragmentTable::kPatience;
      for (unsigned i = 0; i < 8 * kPorts; ++i) roomy.expire(now);
      model.datagrams.clear();
      ASSERT_EQ(roomy.datagrams(), 0u);
    }
  }
  EXPECT_GT(passed, 20'000u) << "the walk reaches what it is for";
  roomy.clear();
}

}  // namespace
}  // namespace vmnat::test
