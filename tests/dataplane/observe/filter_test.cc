// SPDX-License-Identifier: Apache-2.0
// The filter against libpcap's own: the same programs, over the same frames.
#include "dataplane/observe/filter.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <pcap/pcap.h>
#include <random>

#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::Filter;
using dataplane::FilterStep;
using dataplane::FrameView;
using Steps = std::vector<FilterStep>;

constexpr const char* kExpressions[] = {"ip",
                                        "arp",
                                        "tcp",
                                        "udp port 53",
                                        "tcp dst portrange 80-90",
                                        "host 192.168.122.10",
                                        "src net 10.0.0.0/8",
                                        "ether host 52:54:00:aa:00:01",
                                        "ether broadcast",
                                        "ether multicast",
                                        "vlan 5",
                                        "vlan and udp port 53",
                                        "icmp[icmptype] = icmp-echo",
                                        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
                                        "len > 100",
                                        "less 64",
                                        "ip6",
                                        "ip6 and udp port 53",
                                        "not port 22 and not arp",
                                        "ip[2:2] > 576",
                                        "ip[6:2] & 0x1fff != 0",
                                        "udp[4:2] + 8 = len",
                                        "ether proto 0x88cc",
                                        "(ip[8] - 1) * 2 / 3 > 40",
                                        "ip[0] & 0xf << 2 != 20",
                                        "tcp[12] >> 4 > 5",
                                        "ether[len - 1] = 0"};

Steps compiled(const std::string& expression) {
  pcap_t* pcap = pcap_open_dead(DLT_EN10MB, 262'144);
  bpf_program program{};
  EXPECT_EQ(pcap_compile(pcap, &program, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN), 0)
      << expression << ": " << pcap_geterr(pcap);
  Steps steps;
  for (unsigned i = 0; i < program.bf_len; ++i)
    steps.push_back(
        {program.bf_insns[i].code, program.bf_insns[i].jt, program.bf_insns[i].jf, program.bf_insns[i].k});
  pcap_freecode(&program);
  pcap_close(pcap);
  return steps;
}

std::vector<bpf_insn> as_libpcap_has_it(const Steps& steps) {
  std::vector<bpf_insn> instructions;
  for (const FilterStep& step : steps)
    instructions.push_back({step.code, step.if_true, step.if_false, step.value});
  return instructions;
}

bool taken_by_libpcap(const Steps& steps, const Bytes& frame) {
  const auto instructions = as_libpcap_has_it(steps);
  const auto length = static_cast<unsigned>(frame.size());
  return bpf_filter(instructions.data(), reinterpret_cast<const u_char*>(frame.data()), length, length) != 0;
}

bool taken(const Steps& steps, rte_mbuf* frame) {
  const bool is_taken = Filter(steps).takes(FrameView(frame));
  rte_pktmbuf_free(frame);
  return is_taken;
}

std::uint32_t below(std::mt19937& random, std::uint32_t limit) {
  return std::uniform_int_distribution<std::uint32_t>(0, limit - 1)(random);
}

// Somewhat like a frame: what expressions ask for is often there.
Bytes random_frame(std::mt19937& random) {
  Bytes frame(below(random, 4) == 0 ? below(random, 40) : 14 + below(random, 200));
  for (auto& byte : frame) byte = static_cast<std::byte>(below(random, 3) == 0 ? below(random, 256) : 0);
  const auto put = [&](std::size_t at, std::initializer_list<unsigned> values) {
    for (const unsigned value : values)
      if (at < frame.size()) frame[at++] = static_cast<std::byte>(value);
  };
  const bool is_tagged = below(random, 4) == 0;
  if (is_tagged) put(12, {0x81, 0, 0, 5});
  const std::size_t type = is_tagged ? 16 : 12;
  constexpr unsigned kTypes[][2] = {{8, 0}, {8, 0}, {8, 6}, {0x86, 0xdd}, {0x88, 0xcc}};
  const auto& chosen = kTypes[below(random, 5)];
  put(type, {chosen[0], chosen[1], 0x45 + below(random, 3)});
  constexpr unsigned kProtocols[] = {1, 6, 17, 50};
  put(type + 11, {kProtocols[below(random, 4)]});
  if (below(random, 2) == 0) put(type + 14, {192, 168, 122, 10, 10, 1, 2, 3});
  if (below(random, 2) == 0) put(type + 22, {0, 53, 0, 80 + below(random, 12)});
  return frame;
}

TEST(Filter, TakesWhatLibpcapTakes) {
  std::mt19937 random(1);
  unsigned taken_frames = 0;
  for (const char* expression : kExpressions) {
    const Steps steps = compiled(expression);
    EXPECT_EQ(Filter::problem_of(steps), "") << expression;
    for (int i = 0; i < 2000; ++i) {
      const Bytes frame = random_frame(random);
      const bool expected = taken_by_libpcap(steps, frame);
      taken_frames += expected ? 1 : 0;
      ASSERT_EQ(taken(steps, buffer_of(frame)), expected) << expression;
      ASSERT_EQ(taken(steps, buffer_of(frame, 1 + below(random, 20))), expected)
          << expression << ", in pieces";
    }
  }
  EXPECT_GT(taken_frames, 4000u);
}

// Any codes and values, of which libpcap's check passes a few.
TEST(Filter, RunsEachProgramThatItPassesAsLibpcapDoes) {
  std::mt19937 random(2);
  unsigned passed = 0;
  for (int i = 0; i < 200'000; ++i) {
    Steps steps(1 + below(random, 6));
    for (FilterStep& step : steps)
      step = {static_cast<std::uint16_t>(below(random, 0xb8)), static_cast<std::uint8_t>(below(random, 3)),
              static_cast<std::uint8_t>(below(random, 3)),
              below(random, 8) == 0 ? static_cast<std::uint32_t>(random()) : below(random, 40)};
    steps.push_back(
        {static_cast<std::uint16_t>(below(random, 2) == 0 ? 0x06 : 0x16), 0, 0, below(random, 2)});
    if (Filter::problem_of(steps) != "") continue;
    ++passed;
    const auto instructions = as_libpcap_has_it(steps);
    ASSERT_TRUE(bpf_validate(instructions.data(), static_cast<int>(instructions.size())));
    const bool reads_memory = std::ranges::any_of(
        steps, [](const FilterStep& step) { return step.code == 0x60 || step.code == 0x61; });
    if (reads_memory) continue;  // of libpcap's machine it is not set
    const Bytes frame = random_frame(random);
    ASSERT_EQ(taken(steps, buffer_of(frame)), taken_by_libpcap(steps, frame));
  }
  EXPECT_GT(passed, 1000u);
}

TEST(Filter, RefusesWhatMayNotRun) {
  const FilterStep end{.code = 0x06};
  const std::tuple<std::string, Steps, std::string> rows[] = {
      {"nothing", {}, "no end"},
      {"no return", {{.code = 0x00}}, "no end"},
      {"a jump over the end", {{.code = 0x15, .if_true = 1}, end}, "a jump backwards or beyond the end"},
      {"a loop", {{.code = 0x05, .value = 0xffffffff}, end}, "a jump backwards or beyond the end"},
      {"a far word", {{.code = 0x02, .value = 16}, end}, "a word of memory that there is not"},
      {"a division", {{.code = 0x34, .value = 0}, end}, "a division by zero"},
      {"a shift", {{.code = 0x64, .value = 32}, end}, "a shift by more bits than there are"},
      {"no instruction", {{.code = 0x18}, end}, "an instruction that there is not"},
      {"a large code", {{.code = 0x1006}, end}, "an instruction that there is not"},
      {"too many", Steps(Filter::kMostSteps + 1, end), "too many instructions"},
  };
  for (const auto& [says, steps, problem] : rows) EXPECT_EQ(Filter::problem_of(steps), problem) << says;
  EXPECT_TRUE(taken({}, buffer_of(Bytes(14))));
}

TEST(FrameView, HasTheTagThatLiesBesideTheFrame) {
  Bytes plain(60), tagged(64);
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<std::byte>(i + 1);
  std::copy_n(plain.begin(), 12, tagged.begin());
  std::copy(plain.begin() + 12, plain.end(), tagged.begin() + 16);
  const std::byte tag[] = {std::byte{0x81}, std::byte{0}, std::byte{0x60}, std::byte{5}};
  std::ranges::copy(tag, tagged.begin() + 12);
  for (const std::size_t piece : {2048, 13, 5}) {
    rte_mbuf* frame = buffer_of(plain, piece);
    frame->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    frame->vlan_tci = 0x6005;
    const FrameView view(frame);
    ASSERT_EQ(view.length(), 64u);
    for (std::uint32_t count = 0; count <= 64; ++count) {
      Bytes copy(count);
      view.copy(count, copy.data());
      EXPECT_TRUE(std::equal(copy.begin(), copy.end(), tagged.begin())) << count;
    }
    std::uint32_t number = 0;
    EXPECT_TRUE(view.read(12, 4, number));
    EXPECT_EQ(number, 0x81006005u);
    EXPECT_FALSE(view.read(61, 4, number));
    EXPECT_FALSE(view.read(0xffffffff, 4, number));
    EXPECT_TRUE(Filter(compiled("vlan 5")).takes(view));
    EXPECT_FALSE(Filter(compiled("vlan 6")).takes(view));
    rte_pktmbuf_free(frame);
  }
}

}  // namespace
}  // namespace vmnat::test
