// SPDX-License-Identifier: Apache-2.0
#include "control/observe/pcapng.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace vmnat::control::pcapng {
namespace {

// Section 4; numbers are the machine's own, which the section's magic number tells.
constexpr std::uint32_t kSection = 0x0A0D0D0A, kInterface = 1, kStatistics = 5, kPacket = 6;
constexpr std::uint32_t kMagic = 0x1A2B3C4D;
constexpr std::uint16_t kMajor = 1, kMinor = 0;
constexpr std::uint16_t kEthernet = 1;  // LINKTYPE_ETHERNET
constexpr std::size_t kWord = 4;

// Options: of any block, of a section, of interfaces, of packets, of statistics.
using Option = std::uint16_t;
constexpr Option kEnd = 0, kComment = 1;
constexpr Option kProgram = 4;
constexpr Option kName = 2, kDescription = 3, kResolution = 9, kFilter = 11;
constexpr Option kFlags = 2;
constexpr Option kBegin = 2, kStop = 3, kReceived = 4, kDropped = 5;

// A block: its length, known at its end alone, stands in it twice.
class Block {
 public:
  Block(Bytes& to, std::uint32_t type) : to_(to), begin_(to.size()) {
    number(type), number(std::uint32_t{0});
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    const auto length = static_cast<std::uint32_t>(to_.size() - begin_ + kWord);
    std::memcpy(to_.data() + begin_ + kWord, &length, sizeof length);
    number(length);
  }

  template <typename Number>
  void number(Number value) {
    bytes(&value, sizeof value);
  }
  void bytes(const void* from, std::size_t size) {
    const auto* const begin = static_cast<const std::uint8_t*>(from);
    to_.insert(to_.end(), begin, begin + size);
  }
  void pad() { to_.resize(begin_ + (to_.size() - begin_ + kWord - 1) / kWord * kWord); }
  void time(WallTime time) {
    const auto since = static_cast<std::uint64_t>(time.time_since_epoch().count());
    number(static_cast<std::uint32_t>(since >> 32));
    number(static_cast<std::uint32_t>(since));
  }

  void option(Option code, std::string_view text) {
    text = text.substr(0, UINT16_MAX);
    option_header(code, text.size());
    bytes(text.data(), text.size());
    pad();
  }
  template <typename Number>
  void option_number(Option code, Number value) {
    option_header(code, sizeof value);
    number(value);
    pad();
  }
  void option_time(Option code, WallTime at) {
    option_header(code, sizeof(std::uint64_t));
    time(at);
  }
  void end_options() { option_header(kEnd, 0); }

 private:
  void option_header(Option code, std::size_t length) {
    number(code);
    number(static_cast<std::uint16_t>(length));
  }

  Bytes& to_;
  const std::size_t begin_;
};

}  // namespace

void add_section(Bytes& to, std::string_view program) {
  Block block(to, kSection);
  block.number(kMagic);
  block.number(kMajor);
  block.number(kMinor);
  block.number(UINT64_MAX);  // the section's length: not known
  block.option(kProgram, program);
  block.end_options();
}

void add_interface(Bytes& to, const Interface& interface) {
  Block block(to, kInterface);
  block.number(kEthernet);
  block.number(std::uint16_t{0});
  block.number(interface.snap);
  block.option(kName, interface.name);
  block.option(kDescription, interface.description);
  block.option_number(kResolution, std::uint8_t{9});  // of times: nanoseconds
  if (!interface.filter.empty()) block.option(kFilter, std::string(1, '\0') + interface.filter);
  block.end_options();
}

void add_packet(Bytes& to, const Packet& packet) {
  Block block(to, kPacket);
  block.number(packet.interface);
  block.time(packet.time);
  block.number(static_cast<std::uint32_t>(packet.kept.size()));
  block.number(packet.length);
  block.bytes(packet.kept.data(), packet.kept.size());
  block.pad();
  if (!packet.comment.empty()) block.option(kComment, packet.comment);
  block.option_number(kFlags, static_cast<std::uint32_t>(packet.way));
  block.end_options();
}

void add_statistics(Bytes& to, const Statistics& statistics) {
  Block block(to, kStatistics);
  block.number(statistics.interface);
  block.time(statistics.end);
  block.option_time(kBegin, statistics.begin);
  block.option_time(kStop, statistics.end);
  block.option_number(kReceived, statistics.captured + statistics.missed);
  block.option_number(kDropped, statistics.missed);
  block.end_options();
}

}  // namespace vmnat::control::pcapng
