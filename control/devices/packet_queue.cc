// SPDX-License-Identifier: Apache-2.0
#include "control/devices/packet_queue.h"

#include <algorithm>
#include <arpa/inet.h>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <fmt/format.h>
#include <iterator>
#include <linux/filter.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <system_error>
#include <utility>

#include "conntrack/external_ports.h"
#include "dataplane/device/packet_socket.h"

namespace vmnat::control {
namespace {

constexpr unsigned kBlockBytes = 1 << 16;  // of the ring, each in one piece
constexpr std::size_t kRingBytes = PacketQueue::kSlots * dataplane::PacketSocket::kSlotBytes;
constexpr int kSendBytes = 8 << 20;  // of frames that leave and are not delivered yet

tl::unexpected<Error> failure(const char* what) {
  return tl::unexpected(Error{"", fmt::format("{}: {}", what, std::system_category().message(errno))});
}

bool set(const FileDescriptor& socket, int level, int option, int value) {
  return setsockopt(socket.number(), level, option, &value, sizeof value) == 0;
}

// As much as the kernel gives to whom it may not ask.
void set_buffer(const FileDescriptor& socket, int forced_option, int option, int bytes) {
  if (!set(socket, SOL_SOCKET, forced_option, bytes)) set(socket, SOL_SOCKET, option, bytes);
}

sockaddr_ll address_of(int interface_index) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = interface_index;
  return address;
}

sockaddr_ll address_of(const FileDescriptor& socket) {
  sockaddr_ll address{};
  socklen_t length = sizeof address;
  getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length);
  return address;
}

// The program's answer, modulo the number of sockets, is the socket. Offsets count from the IP header.
bool spread_by_destination_port(const FileDescriptor& socket) {
  constexpr std::uint32_t kIp = static_cast<std::uint32_t>(SKF_NET_OFF);
  constexpr std::uint32_t kEtherType = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PROTOCOL);
  constexpr unsigned kBlockBits = std::countr_zero(conntrack::kBlockPorts);
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kEtherType),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 9),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kIp + offsetof(iphdr, frag_off)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 7, 0),  // a fragment
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kIp + offsetof(iphdr, protocol)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 4),
      BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, kIp),
      BPF_STMT(BPF_LD | BPF_H | BPF_IND, kIp + 2),
      BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, kBlockBits),
      BPF_STMT(BPF_RET | BPF_A, 0),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program{.len = std::size(code), .filter = code};
  return setsockopt(socket.number(), SOL_PACKET, PACKET_FANOUT_DATA, &program, sizeof program) == 0;
}

// The kernel takes a frame's outer tag off before it asks.
bool receive_only(const FileDescriptor& socket, std::uint16_t vlan) {
  constexpr auto kIsTagged = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT);
  constexpr auto kTag = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG);
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kIsTagged),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kTag),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x0fff),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, vlan, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program{.len = std::size(code), .filter = code};
  return setsockopt(socket.number(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

}  // namespace

Result<PacketQueue> PacketQueue::open(int interface_index, std::uint16_t vlan, std::uint64_t waiting) {
  PacketQueue queue(FileDescriptor(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  const FileDescriptor& socket = queue.socket_;
  if (!socket.is_open()) return failure("cannot open a packet socket, which needs CAP_NET_RAW");
  // In this order: a ring's version and header are fixed before it is made.
  if (!set(socket, SOL_PACKET, PACKET_VERSION, TPACKET_V2) || !set(socket, SOL_PACKET, PACKET_VNET_HDR, 1))
    return failure("its packet socket takes no virtio headers");
  if (!set(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1))
    return failure("its packet socket cannot leave out what the host sends itself (Linux 4.20 or newer)");
  if (vlan != dataplane::kNoVlan && !receive_only(socket, vlan))
    return failure("its packet socket does not keep to a VLAN");
  if (auto made = queue.make_ring(); !made) return tl::unexpected(made.error());
  queue.let_wait(waiting);
  set_buffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, kSendBytes);
  const sockaddr_ll address = address_of(interface_index);
  if (bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failure("cannot bind a packet socket");
  if (address_of(socket).sll_hatype != ARPHRD_ETHER)
    return tl::unexpected(Error{"", "is no Ethernet interface"});
  return queue;
}

Result<void> PacketQueue::make_ring() {
  constexpr auto kSlotBytes = static_cast<unsigned>(dataplane::PacketSocket::kSlotBytes);
  const tpacket_req ring{.tp_block_size = kBlockBytes,
                         .tp_block_nr = kRingBytes / kBlockBytes,
                         .tp_frame_size = kSlotBytes,
                         .tp_frame_nr = kSlots};
  if (!set(socket_, SOL_PACKET, PACKET_COPY_THRESH, 1) ||
      setsockopt(socket_.number(), SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) != 0)
    return failure("the kernel gives no receive ring");
  void* const at =
      mmap(nullptr, kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, socket_.number(), 0);
  if (at == MAP_FAILED) return failure("its receive ring cannot be mapped");
  ring_ = static_cast<std::byte*>(at);
  return {};
}

PacketQueue::PacketQueue(PacketQueue&& other) noexcept
    : socket_(std::move(other.socket_)), ring_(std::exchange(other.ring_, nullptr)) {}

PacketQueue::~PacketQueue() {
  if (ring_ != nullptr) munmap(ring_, kRingBytes);
}

int PacketQueue::receive_for_others(int interface_index) const {
  const packet_mreq membership{.mr_ifindex = interface_index, .mr_type = PACKET_MR_PROMISC};
  return setsockopt(socket_.number(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) == 0
             ? 0
             : errno;
}

// A group without its program gives all to the first socket.
Result<int> PacketQueue::join(std::optional<int> group, Spread spread) const {
  const int way = spread == Spread::Flows ? PACKET_FANOUT_HASH : PACKET_FANOUT_CBPF;
  const int flags = way | (group ? 0 : PACKET_FANOUT_FLAG_UNIQUEID);
  if (!set(socket_, SOL_PACKET, PACKET_FANOUT, group.value_or(0) | flags << 16))
    return failure("its queues cannot share what arrives");
  if (!group && spread == Spread::DestinationPorts && !spread_by_destination_port(socket_))
    return failure("its queues cannot share what arrives by port");
  int joined = 0;
  socklen_t length = sizeof joined;
  if (getsockopt(socket_.number(), SOL_PACKET, PACKET_FANOUT, &joined, &length) != 0)
    return failure("its queues cannot share what arrives");
  return joined & 0xffff;
}

bool PacketQueue::is_bound() const {
  return address_of(socket_).sll_ifindex > 0;
}

// The kernel doubles what it is given, and counts buffers whole.
void PacketQueue::let_wait(std::uint64_t bytes) const {
  set_buffer(socket_, SO_RCVBUFFORCE, SO_RCVBUF, static_cast<int>(std::min(bytes, kMostWaiting) / 2));
}

unsigned PacketQueue::take_missed() const {
  tpacket_stats statistics{};
  socklen_t length = sizeof statistics;
  return getsockopt(socket_.number(), SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0
             ? statistics.tp_drops
             : 0;
}

}  // namespace vmnat::control
