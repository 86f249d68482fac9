// SPDX-License-Identifier: Apache-2.0
#include "bench/kernel/frame_sender.h"

#include <algorithm>
#include <fstream>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdexcept>
#include <sys/ioctl.h>

#include "bench/generator/frame.h"

namespace vmnat::bench {
namespace {

Socket packet_socket() {
  Socket socket{
      checked(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "packet socket")};  // 0: receives nothing
  sockaddr_ll address{.sll_family = AF_PACKET, .sll_ifindex = static_cast<int>(::if_nametoindex(kInterface))};
  checked(::bind(socket.number(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address),
          kInterface);
  set_option(socket, SOL_PACKET, PACKET_QDISC_BYPASS, 1);
  return socket;
}

net::MacAddr own_mac(const Socket& socket) {
  ifreq request{};
  std::copy(std::begin(kInterface), std::end(kInterface), request.ifr_name);
  checked(::ioctl(socket.number(), SIOCGIFHWADDR, &request), kInterface);
  net::MacAddr mac;
  std::copy_n(request.ifr_hwaddr.sa_data, mac.bytes.size(), mac.bytes.begin());
  return mac;
}

// Of the first line of the table: address, hardware type, flags, MAC, ...
net::MacAddr neighbour_mac() {
  std::ifstream table("/proc/thread-self/net/arp");
  std::string heading, field;
  std::getline(table, heading);
  for (unsigned column = 0; column < 4; ++column) table >> field;
  const auto mac = net::parse_mac(field);
  if (!mac) throw std::runtime_error("no neighbour is known");
  return *mac;
}

}  // namespace

FrameSender::FrameSender(const std::string& network_namespace, std::span<const Tuple> flows)
    : frames_(flows.size()), pieces_(flows.size()), burst_(flows.size()) {
  const Visit visit(network_namespace);
  socket_ = packet_socket();
  const FrameTemplate frame(kSmallestFrame, own_mac(socket_), neighbour_mac());
  for (std::size_t flow = 0; flow < flows.size(); ++flow) {
    auto& bytes = frames_[flow].bytes;
    std::copy(frame.bytes().begin(), frame.bytes().end(), bytes.begin());
    frame.patch_of(flows[flow], static_cast<FlowNumber>(flow)).apply_to(bytes.data());
    pieces_[flow] = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    burst_[flow].msg_hdr = {.msg_iov = &pieces_[flow], .msg_iovlen = 1};
  }
}

unsigned FrameSender::send_burst() {
  const int sent = ::sendmmsg(socket_.number(), burst_.data(), static_cast<unsigned>(burst_.size()), 0);
  return sent < 0 ? 0 : static_cast<unsigned>(sent);
}

}  // namespace vmnat::bench
