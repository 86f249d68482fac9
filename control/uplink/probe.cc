// SPDX-License-Identifier: Apache-2.0
#include "control/uplink/probe.h"

#include <utility>

#include "net/checksum.h"
#include "net/wire.h"

namespace vmnat::control {
namespace {

using net::EthernetHeader;
using net::IcmpHeader;
using net::Ipv4Header;

constexpr std::uint16_t kDontFragment = 0x4000;  // so that no identification is needed: RFC 6864 section 4.1

struct Echo {
  IcmpHeader icmp;
  net::Be32 secret[2];
};
static_assert(sizeof(Echo) == 16 && alignof(Echo) == 1);

Echo echo_with(std::uint64_t secret, std::uint16_t sequence) {
  Echo echo{.icmp = {.type = net::IcmpType::EchoRequest, .sequence = net::Be16::from_host(sequence)},
            .secret = {net::Be32::from_host(static_cast<std::uint32_t>(secret >> 32)),
                       net::Be32::from_host(static_cast<std::uint32_t>(secret))}};
  echo.icmp.checksum = net::checksum_of(net::added_sum(std::as_bytes(std::span{&echo, 1})));
  return echo;
}

}  // namespace

void UplinkProbe::set_target(net::Ipv4Addr target) {
  if (target_ == target) return;
  target_ = target;
  next_.reset();
  is_awaited_ = is_answered_ = is_silent_ = false;
  against_ = 0;
}

bool UplinkProbe::take_due(SteadyTime now) {
  if (target_.is_unspecified() || (next_ && now < *next_)) return false;
  if (std::exchange(is_awaited_, true)) conclude(is_answered_);
  is_answered_ = false;
  ++sequence_;
  next_ = now + kInterval;
  return true;
}

std::vector<std::byte> UplinkProbe::request(net::Ipv4Addr own) const {
  std::vector<std::byte> frame(sizeof(EthernetHeader) + sizeof(Ipv4Header) + sizeof(Echo));
  *net::mutable_view<EthernetHeader>(frame) = {.type = net::Be16::from_host(0x0800)};
  auto& ip = *net::mutable_view<Ipv4Header>(frame, sizeof(EthernetHeader));
  ip = {.version_ihl = 0x45,
        .total_length = net::Be16::from_host(sizeof(Ipv4Header) + sizeof(Echo)),
        .fragment = net::Be16::from_host(kDontFragment),
        .ttl = net::kInitialTtl,
        .protocol_number = static_cast<std::uint8_t>(net::Protocol::Icmp),
        .source = own,
        .destination = target_};
  net::write_checksum(ip);
  const Echo echo = echo_with(secret_, sequence_);
  const auto bytes = std::as_bytes(std::span{&echo, 1});
  std::copy(bytes.begin(), bytes.end(), frame.end() - sizeof echo);
  return frame;
}

void UplinkProbe::receive(std::span<const std::byte> frame) {
  const auto* ip = net::view<Ipv4Header>(frame, sizeof(EthernetHeader));
  if (ip == nullptr || ip->source != target_) return;
  const std::size_t at = sizeof(EthernetHeader) + ip->header_length();
  const auto* icmp = net::view<IcmpHeader>(frame, at);
  const auto* high = net::view<net::Be32>(frame, at + sizeof *icmp);
  const auto* low = net::view<net::Be32>(frame, at + sizeof *icmp + sizeof *high);
  if (icmp == nullptr || high == nullptr || low == nullptr) return;
  const std::uint64_t secret = std::uint64_t{high->host()} << 32 | low->host();
  if (icmp->type == net::IcmpType::EchoReply && icmp->sequence.host() == sequence_ && secret == secret_)
    is_answered_ = true;
}

void UplinkProbe::conclude(bool is_answered) {
  if (is_answered != is_silent_)
    against_ = 0;
  else if (++against_ == kInARow) {
    is_silent_ = !is_silent_;
    against_ = 0;
  }
}

}  // namespace vmnat::control
