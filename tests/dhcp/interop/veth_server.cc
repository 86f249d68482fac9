// SPDX-License-Identifier: Apache-2.0
// The DHCP server on a kernel interface, for real clients in network namespaces; a test's tool, not a
// product.
//
//   veth_server INTERFACE GATEWAY/LEN FIRST-LAST [JOURNAL] [MAX_LEASES_PER_PORT]
//   veth_server --list JOURNAL        one line a lease: address mac state expires(seconds since 1970) name|*
//
// Reads whole frames from a packet socket, answers a burst, stores its leases with one fsync, and only then
// sends: the order that control keeps too. ARP and ping are the kernel's, which has the gateway's address.
// Ends on SIGTERM after printing its counters.
#include <arpa/inet.h>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <linux/if_packet.h>
#include <memory>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/dhcp/lease_store.h"
#include "dhcp/server.h"
#include "tests/dhcp/request_frame.h"

namespace {

using namespace vmnat;

constexpr int kBurst = 256;
volatile std::sig_atomic_t g_stop = 0;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "veth_server: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(2);
}

class PacketSocket {
 public:
  explicit PacketSocket(const std::string& interface) : socket_(socket(AF_PACKET, SOCK_RAW, htons(0x0800))) {
    const unsigned index = if_nametoindex(interface.c_str());
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(0x0800);
    address.sll_ifindex = static_cast<int>(index);
    const int one = 1, buffer = 8 << 20;
    if (socket_ < 0 || index == 0 ||
        bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        setsockopt(socket_, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) != 0)
      die(interface);
    setsockopt(socket_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    ifreq request{};
    interface.copy(request.ifr_name, IFNAMSIZ - 1);
    if (ioctl(socket_, SIOCGIFHWADDR, &request) != 0) die("hardware address");
    std::memcpy(mac_.bytes.data(), request.ifr_hwaddr.sa_data, 6);
  }

  [[nodiscard]] net::MacAddr mac() const { return mac_; }
  bool wait() const {
    pollfd event{socket_, POLLIN, 0};
    return poll(&event, 1, 200) > 0;
  }
  // The next frame, empty when there is none. A UDP checksum that was left to hardware is taken for none (RFC
  // 768).
  dhcp::ByteView receive() {
    iovec part{buffer_.data(), buffer_.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(tpacket_auxdata))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = recvmsg(socket_, &message, MSG_DONTWAIT);
    if (size <= 0) return {};
    const auto frame = std::span(buffer_).first(static_cast<std::size_t>(size));
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
        header != nullptr && header->cmsg_type == PACKET_AUXDATA) {
      tpacket_auxdata aux;
      std::memcpy(&aux, CMSG_DATA(header), sizeof(aux));
      if ((aux.tp_status & TP_STATUS_CSUMNOTREADY) != 0) dhcp::test::without_udp_checksum(frame);
    }
    return frame;
  }
  void send(dhcp::ByteView frame) const {
    if (::send(socket_, frame.data(), frame.size(), 0) < 0) std::perror("send");
  }

 private:
  int socket_;
  net::MacAddr mac_;
  std::array<std::byte, 65536> buffer_;
};

// Keeps the kernel from answering unicast requests with "port unreachable".
void occupy_server_port() {
  const int socket_number = socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(67);
  if (bind(socket_number, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) die("port 67");
}

dhcp::NetworkSettings settings_from(char** argv, net::MacAddr mac) {
  const std::string range{argv[3]};
  const auto dash = range.find('-');
  dhcp::NetworkSettings settings;
  settings.gateway = net::parse_ipv4_prefix(argv[2]).value();
  settings.gateway_mac = mac;
  settings.ranges = {
      {net::parse_ipv4(range.substr(0, dash)).value(), net::parse_ipv4(range.substr(dash + 1)).value()}};
  settings.dns = {settings.gateway.address};
  settings.domain = "lab.example";
  settings.search = {"lab.example", "example"};
  settings.routes = {{net::parse_ipv4_prefix("10.99.0.0/16").value(), settings.gateway.address}};
  settings.mtu = 1400;
  settings.limits.messages_per_second = 0;
  settings.boot = {{.for_ipxe = true, .server = settings.gateway.address, .file = "boot.ipxe"},
                   {.server = settings.gateway.address, .file = "for-others.0"}};
  return settings;
}

void print_counters(const dhcp::Server& server) {
  const dhcp::Counters& counters = server.counters();
  for (unsigned type = 1; type <= dhcp::kMessageTypes; ++type) {
    const auto name = dhcp::to_string(static_cast<dhcp::MessageType>(type));
    if (counters.received[type] + counters.sent[type] > 0)
      std::printf("%s: received %lu sent %lu\n", std::string{name}.c_str(), counters.received[type],
                  counters.sent[type]);
  }
  for (std::size_t reason = 0; reason < dhcp::kIgnoredReasons; ++reason)
    if (counters.ignored[reason] > 0)
      std::printf("ignored %s: %lu\n", std::string{dhcp::kIgnoredTexts[reason].name}.c_str(),
                  counters.ignored[reason]);
}

int list_journal(const char* path) {
  const auto store = control::LeaseStore::open(path);
  if (!store) die(control::to_string(store.error()));
  for (const dhcp::Lease& lease : store->found()) {
    const auto expires = std::chrono::duration_cast<std::chrono::seconds>(lease.expires.time_since_epoch());
    std::printf("%s %s %s %ld %s\n", net::to_string(lease.address).c_str(), net::to_string(lease.mac).c_str(),
                std::string{dhcp::to_string(lease.state)}.c_str(), static_cast<long>(expires.count()),
                lease.hostname.empty() ? "*" : lease.hostname.c_str());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view{argv[1]} == "--list") return list_journal(argv[2]);
  if (argc < 4) return 2;
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  auto socket = std::make_unique<PacketSocket>(argv[1]);
  occupy_server_port();
  dhcp::NetworkSettings settings = settings_from(argv, socket->mac());
  settings.limits.leases = argc > 5 ? static_cast<unsigned>(std::stoul(argv[5])) : 16;
  dhcp::Server server{std::move(settings), 1};
  std::optional<control::LeaseStore> store;
  if (argc > 4 && *argv[4] != '\0') {
    auto opened = control::LeaseStore::open(argv[4]);
    if (!opened) die(control::to_string(opened.error()));
    store = std::move(*opened);
    std::printf("loaded %zu leases\n", server.load(store->found(), std::chrono::system_clock::now()));
  }
  std::printf("ready\n");
  std::fflush(stdout);
  std::vector<dhcp::Frame> replies;
  while (g_stop == 0) {
    if (!socket->wait()) continue;
    for (int i = 0; i < kBurst; ++i) {
      const auto frame = socket->receive();
      if (frame.empty()) break;
      if (auto reply =
              server.answer(frame, {.port = argv[1], .may_relay = true}, std::chrono::system_clock::now()))
        replies.push_back(std::move(*reply));
    }
    const auto changes = server.take_changes();
    server.take_expired();
    if (store && !store->append(changes)) die("journal");
    if (store && store->wants_compaction() && !store->compact(server.leases())) die("compaction");
    for (const dhcp::Frame& reply : replies) socket->send(reply);
    replies.clear();
  }
  print_counters(server);
  return 0;
}
