// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/oracle.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "tests/fuzz/driver.h"
#include "tests/support/testbed.h"

namespace vmnat::fuzz {
namespace {

using test::Bytes;

constexpr std::size_t kIp = 14;
constexpr std::uint32_t kExternal = 0xcb007102;  // 203.0.113.2
constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17;

unsigned get8(const Bytes& bytes, std::size_t at) {
  return static_cast<unsigned>(bytes[at]);
}
unsigned get16(const Bytes& bytes, std::size_t at) {
  return get8(bytes, at) << 8 | get8(bytes, at + 1);
}
std::uint32_t get32(const Bytes& bytes, std::size_t at) {
  return get16(bytes, at) << 16 | get16(bytes, at + 2);
}
void put16(Bytes& bytes, std::size_t at, unsigned value) {
  bytes[at] = static_cast<std::byte>(value >> 8);
  bytes[at + 1] = static_cast<std::byte>(value & 0xff);
}

// RFC 1071; the result is 0 when the bytes hold a right checksum of themselves.
unsigned checksum(const Bytes& bytes, std::size_t from, std::size_t to, std::uint64_t sum = 0) {
  for (std::size_t at = from; at < to; at += 2)
    sum += get8(bytes, at) << 8 | (at + 1 < to ? get8(bytes, at + 1) : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~static_cast<unsigned>(sum) & 0xffff;
}

// An IPv4 packet in a frame, all of whose lengths are right.
struct Ip {
  std::size_t l4;
  std::size_t end;
  unsigned protocol;
  bool is_fragment;
};

std::optional<Ip> ip_in(const Bytes& frame, std::size_t at = kIp) {
  if (frame.size() < at + 20 || get8(frame, at) >> 4 != 4) return std::nullopt;
  const Ip ip{at + (get8(frame, at) & 15) * 4, at + get16(frame, at + 2), get8(frame, at + 9),
              (get16(frame, at + 6) & 0x3fff) != 0};
  if (ip.l4 < at + 20 || ip.end < ip.l4 || ip.end > frame.size()) return std::nullopt;
  return ip;
}

bool is_ipv4(const Bytes& frame) {
  return frame.size() >= kIp && get16(frame, 12) == 0x0800;
}
bool is_arp(const Bytes& frame) {
  return frame.size() >= 42 && get16(frame, 12) == 0x0806;
}

std::size_t checksum_offset(unsigned protocol) {
  return protocol == kTcp ? 16 : protocol == kUdp ? 6 : 2;
}

std::uint64_t pseudo_sum(const Bytes& frame, unsigned protocol, std::size_t length) {
  std::uint64_t sum = protocol + length;
  for (std::size_t at = kIp + 12; at < kIp + 20; at += 2) sum += get16(frame, at);
  return sum;
}

// Right, wrong, or not there to be judged: no such protocol, a fragment, UDP without a checksum.
std::optional<bool> l4_is_right(const Bytes& frame, const Ip& ip) {
  if (ip.is_fragment) return std::nullopt;
  std::size_t end = ip.end;
  if (ip.protocol == kIcmp) {
    if (end < ip.l4 + 4) return std::nullopt;
    return checksum(frame, ip.l4, end) == 0;
  }
  if (ip.protocol == kUdp) {
    if (end < ip.l4 + 8 || get16(frame, ip.l4 + 6) == 0) return std::nullopt;
    if (get16(frame, ip.l4 + 4) < 8 || ip.l4 + get16(frame, ip.l4 + 4) > end) return std::nullopt;
    end = ip.l4 + get16(frame, ip.l4 + 4);
  } else if (ip.protocol != kTcp || end < ip.l4 + 20) {
    return std::nullopt;
  }
  return checksum(frame, ip.l4, end, pseudo_sum(frame, ip.protocol, end - ip.l4)) == 0;
}

bool is_inside(std::uint32_t address) {
  return address >> 8 == 0xc0a87a || address >> 8 == 0xc0a805 || address >> 8 == 0x0a0900;
}

void require(bool condition, const char* what, const Output& input, const Output& output) {
  if (condition) return;
  const auto hex = [](const Bytes& bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
      char digits[4];
      std::snprintf(digits, sizeof digits, "%02x ", static_cast<unsigned>(byte));
      text += digits;
    }
    return text;
  };
  fault(std::string(what) + "\n  into port " + std::to_string(input.port) + ": " + hex(input.frame) +
        "\n  out of port " + std::to_string(output.port) + ": " + hex(output.frame));
}

bool is_icmp_error(const Bytes& frame, const Ip& ip) {
  if (ip.protocol != kIcmp || ip.is_fragment || ip.end < ip.l4 + 8) return false;
  const unsigned type = get8(frame, ip.l4);
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

// Of all packets that were routed or made by the gateway.
Ip check_packet(const Output& input, const Output& output) {
  const auto ip = ip_in(output.frame);
  require(ip.has_value(), "an IPv4 packet whose lengths are wrong", input, output);
  require(checksum(output.frame, kIp, ip->l4) == 0, "a wrong IPv4 checksum", input, output);
  require(get8(output.frame, kIp + 8) != 0, "a packet with TTL 0", input, output);
  if (l4_is_right(output.frame, *ip).value_or(true)) return *ip;
  const auto before = ip_in(input.frame);
  const bool was_right = before && l4_is_right(input.frame, *before).value_or(true);
  const bool is_own_error =
      is_icmp_error(output.frame, *ip) && !(before && is_icmp_error(input.frame, *before));
  require(!was_right && !is_own_error, "a wrong transport checksum", input, output);
  return *ip;
}

// Nobody outside learns an inside address, from quotes neither.
void check_quote(const Output& input, const Output& output, const Ip& ip) {
  const std::size_t quote = ip.l4 + 8;
  require(ip.end >= quote + 20, "an ICMP error without a quote", input, output);
  require(!is_inside(get32(output.frame, quote + 12)), "a quote with an inside source", input, output);
  require(!is_inside(get32(output.frame, quote + 16)), "a quote with an inside destination", input, output);
}

void check_uplink(const Output& input, const Output& output) {
  const Bytes& frame = output.frame;
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  require(ethernet != nullptr && ethernet->source == test::kUplinkMac, "another MAC than the uplink's", input,
          output);
  if (is_arp(frame)) return require(get32(frame, 28) == kExternal, "ARP in another's name", input, output);
  require(is_ipv4(frame), "neither IPv4 nor ARP", input, output);
  require(frame.size() >= kIp + 20 && get32(frame, kIp + 12) == kExternal, "a source that is not external",
          input, output);
  require(!is_inside(get32(frame, kIp + 16)), "an inside destination on the uplink", input, output);
  const Ip ip = check_packet(input, output);
  if (is_icmp_error(frame, ip)) check_quote(input, output, ip);
}

// A frame that came in from the uplink, at a VM.
void check_delivered(const Output& input, const Output& output) {
  constexpr std::uint32_t network_of_port[] = {0, 0xc0a87a, 0xc0a87a, 0xc0a87a, 0xc0a805, 0x0a0900};
  const Bytes& frame = output.frame;
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  const net::MacAddr gateway = output.port == test::kVm4   ? test::kBlueMac
                               : output.port == test::kVm5 ? test::kIslandMac
                                                           : test::kRedMac;
  require(ethernet != nullptr && ethernet->source == gateway, "not from the network's gateway", input,
          output);
  require(is_ipv4(frame) && frame.size() >= kIp + 20, "no IPv4 packet", input, output);
  require(get32(frame, kIp + 16) >> 8 == network_of_port[output.port], "another network's address", input,
          output);
  require(output.port != test::kVm5, "a packet from outside on an isolated network", input, output);
  check_packet(input, output);
}

void check_output(const Output& input, const Output& output) {
  if (output.port == test::kUplink) return check_uplink(input, output);
  if (input.port == test::kUplink) return check_delivered(input, output);
}

// What of a TCP packet from the uplink is to come out again. Empty: of one that cannot be told from others.
struct Likeness {
  Bytes kept;  // IPv4's TOS, DF and source, all of TCP but the local port and the checksum
  unsigned ttl = 0;
  unsigned local_port = 0;
  bool is_right = false;

  // The gateway takes one off the TTL, and leads two ports to 80.
  [[nodiscard]] bool is_of(const Likeness& input) const {
    return !kept.empty() && kept == input.kept && ttl + 1 == input.ttl && is_right == input.is_right &&
           (local_port == input.local_port || local_port == 80);
  }
};

Likeness likeness_of(const Bytes& frame) {
  const auto ip = is_ipv4(frame) ? ip_in(frame) : std::nullopt;
  if (!ip || ip->protocol != kTcp || ip->is_fragment || ip->end < ip->l4 + 20) return {};
  Likeness likeness{.kept = {frame[kIp + 1], frame[kIp + 6]},
                    .ttl = get8(frame, kIp + 8),
                    .local_port = get16(frame, ip->l4 + 2),
                    .is_right = l4_is_right(frame, *ip).value_or(false)};
  const auto keep = [&](std::size_t from, std::size_t to) {
    for (; from < to; ++from) likeness.kept.push_back(frame[from]);
  };
  keep(kIp + 12, kIp + 16);
  keep(ip->l4, ip->l4 + 2);
  keep(ip->l4 + 4, ip->l4 + 16);
  keep(ip->l4 + 18, ip->end);
  return likeness;
}

// The inputs of a burst, to be found again in what came out.
class Origins {
 public:
  explicit Origins(const std::vector<Output>& inputs) : inputs_(inputs) {
    if (inputs.empty() || inputs[0].port != test::kUplink) return;
    for (const Output& input : inputs) left_.push_back(likeness_of(input.frame));
  }
  std::optional<std::size_t> take(const Output& output) {
    if (left_.empty() || output.port == test::kUplink) return std::nullopt;
    const Likeness wanted = likeness_of(output.frame);
    const auto found = std::ranges::find_if(left_, [&](const Likeness& one) { return wanted.is_of(one); });
    if (found == left_.end()) return std::nullopt;
    *found = {};
    return static_cast<std::size_t>(found - left_.begin());
  }
  // Stands for any of them: one that excuses a wrong checksum, if there is one.
  [[nodiscard]] const Output& any() {
    if (any_ != nullptr) return *any_;
    const auto is_wrong = [](const Output& input) {
      const auto ip = ip_in(input.frame);
      return !ip || !l4_is_right(input.frame, *ip).value_or(true);
    };
    const auto wrong = std::ranges::find_if(inputs_, is_wrong);
    any_ = wrong == inputs_.end() ? &inputs_[0] : &*wrong;
    return *any_;
  }

 private:
  const std::vector<Output>& inputs_;
  const Output* any_ = nullptr;
  std::vector<Likeness> left_;
};

// A session of an inbound segment, as far as one can tell: who sends, and to which VM and port.
using Flow = std::tuple<PortIndex, std::uint32_t, std::uint32_t>;
Flow flow_of(const Output& output) {
  return {output.port, get32(output.frame, kIp + 12), get32(output.frame, ip_in(output.frame)->l4)};
}

}  // namespace

void check_outputs(const std::vector<Output>& inputs, const std::vector<Output>& outputs) {
  Origins origins(inputs);
  std::map<Flow, std::size_t> next;  // the earliest input that may still come out
  for (const Output& output : outputs) {
    const auto origin = origins.take(output);
    const Output& input = origin ? inputs[*origin] : origins.any();
    require(origin || !output.was_merged, "of a super-frame, a segment that nobody sent", input, output);
    check_output(input, output);
    if (!origin) continue;
    std::size_t& earliest = next[flow_of(output)];
    require(*origin >= earliest, "a segment that has overtaken another one", input, output);
    earliest = *origin + 1;
  }
}

std::vector<Output> segments_of(const Output& super_frame, std::size_t segment_size) {
  const Bytes& whole = super_frame.frame;
  const auto ip = ip_in(whole);
  if (!ip || ip->protocol != kTcp || ip->end != whole.size() || segment_size == 0)
    fault("a super-frame that is not TCP, or whose length is wrong");
  constexpr unsigned push = 8;
  const std::size_t headers = ip->l4 + (get8(whole, ip->l4 + 12) >> 4) * 4;
  const auto at = [&](std::size_t offset) { return whole.begin() + static_cast<std::ptrdiff_t>(offset); };
  std::vector<Output> segments;
  for (std::size_t begin = headers; begin < ip->end; begin += segment_size) {
    const std::size_t end = std::min(ip->end, begin + segment_size);
    Bytes frame(at(0), at(headers));
    frame.insert(frame.end(), at(begin), at(end));
    put16(frame, kIp + 2, static_cast<unsigned>(frame.size() - kIp));
    const auto sequence = static_cast<std::uint32_t>(get32(frame, ip->l4 + 4) + (begin - headers));
    put16(frame, ip->l4 + 4, sequence >> 16);
    put16(frame, ip->l4 + 6, sequence & 0xffff);
    if (end != ip->end) frame[ip->l4 + 13] &= static_cast<std::byte>(~push);
    mend(frame, kMendIp | kMendL4);
    segments.push_back({super_frame.port, std::move(frame), true});
  }
  return segments;
}

void mend(Bytes& frame, std::uint8_t what) {
  if (!is_ipv4(frame)) return;
  const auto ip = ip_in(frame);
  if (!ip) return;
  const bool has_l4 =
      !ip->is_fragment && (ip->protocol == kTcp || ip->protocol == kUdp || ip->protocol == kIcmp);
  const std::size_t field = ip->l4 + checksum_offset(ip->protocol);
  if ((what & (kMendL4 | kMendPartial)) != 0 && has_l4 && field + 2 <= ip->end) {
    put16(frame, field, 0);
    const std::uint64_t start = ip->protocol == kIcmp ? 0 : pseudo_sum(frame, ip->protocol, ip->end - ip->l4);
    if ((what & kMendPartial) != 0) {
      put16(frame, field, ~checksum(frame, 0, 0, start) & 0xffff);
    } else {
      const unsigned sum = checksum(frame, ip->l4, ip->end, start);
      put16(frame, field, ip->protocol == kUdp && sum == 0 ? 0xffff : sum);
    }
  }
  if ((what & kMendIp) != 0) {
    put16(frame, kIp + 10, 0);
    put16(frame, kIp + 10, checksum(frame, kIp, ip->l4));
  }
}

}  // namespace vmnat::fuzz
