// SPDX-License-Identifier: Apache-2.0
#include "control/devices/xdp_interface.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <rte_devargs.h>
#include <rte_mempool.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "control/system/link_state.h"

namespace vmnat::control {
namespace {

std::string error_text(int error) {
  return std::system_category().message(error);
}

// As net_af_xdp counts them: 1 where the interface tells of none.
unsigned channels_of(const std::string& interface) {
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq query{};
  std::strncpy(query.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  query.ifr_data = static_cast<char*>(static_cast<void*>(&channels));
  if (!socket.is_open() || ioctl(socket.number(), SIOCETHTOOL, &query) != 0) return 1;
  return channels.max_combined == 0 ? 1 : channels.combined_count;
}

// A device's name begins with its driver's: a name that no driver takes, no bus does.
bool is_driver(const std::string& name) {
  rte_devargs device{};
  const bool is_known = rte_devargs_parse(&device, name.c_str()) == 0;
  std::free(device.data);  // NOLINT: DPDK's malloc
  return is_known;
}

// Why not; empty: it can.
std::string refusal_of_link(const KernelLink& link) {
  if (link.kind == "tun")
    return fmt::format("{} is a TAP or TUN, which vmnatd is the other end of: driver: packet", link.name);
  if (link.mac.is_zero()) return fmt::format("{} has no MAC address: driver: packet", link.name);
  return {};
}

}  // namespace

Result<std::unique_ptr<XdpInterface>> XdpInterface::open(Settings settings, const KernelLinks& links) {
  const auto link = find_link(settings.name, settings.interface, links);
  if (!link) return tl::unexpected(link.error());
  const unsigned channels = channels_of(settings.interface);
  for (const std::string& why :
       {xdp_refusal_of_machine(), refusal_of_link(**link), xdp_refusal_of_queues(channels, settings)})
    if (!why.empty()) return tl::unexpected(Error{settings.name, "driver: xdp: " + why});
  std::unique_ptr<XdpInterface> opened(new XdpInterface(std::move(settings), links));
  opened->link_ = **link;
  opened->index_ = opened->link_.index;
  opened->queues_ = channels;
  const auto was_down = bring_up(opened->settings_.name, opened->link_);
  if (!was_down) return tl::unexpected(was_down.error());
  opened->was_down_ = *was_down;
  if (opened->settings_.is_promiscuous)
    if (auto done = opened->receive_for_others(); !done) return tl::unexpected(done.error());
  return opened;
}

XdpInterface::XdpInterface(Settings settings, const KernelLinks& links)
    : settings_(std::move(settings)), links_(links) {}

XdpInterface::~XdpInterface() {
  if (was_down_ && link_.is_up) set_link_up(settings_.interface, false);
}

// The driver would set the interface's flag, which outlives it.
Result<void> XdpInterface::receive_for_others() {
  membership_ = FileDescriptor(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  packet_mreq request{};
  request.mr_ifindex = index_;
  request.mr_type = PACKET_MR_PROMISC;
  if (membership_.is_open() &&
      setsockopt(membership_.number(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) == 0)
    return {};
  return tl::unexpected(Error{settings_.name, "cannot receive for other MACs: " + error_text(errno)});
}

std::string XdpInterface::devargs(unsigned number) const {
  return fmt::format("net_af_xdp_port{},iface={},start_queue=0,queue_count={}", number, settings_.interface,
                     queues_);
}

void XdpInterface::follow() {
  const KernelLink* const link = links_.find(settings_.interface);
  const bool was_there = link_.index == index_;
  link_ = link == nullptr ? KernelLink{} : *link;
  if (link_.index == index_ || !was_there) return;
  was_down_ = false;  // another one is not ours to put down
  spdlog::error("{}: interface {} is gone; with driver: xdp it is opened again by a restart", settings_.name,
                settings_.interface);
}

std::string xdp_refusal_of_queues(unsigned channels, const XdpInterface::Settings& wanted) {
  constexpr unsigned kMost = 64;  // as `queues` may be
  if (wanted.fewer_queues_will_do)
    return channels <= kMost
               ? std::string{}
               : fmt::format("{0} has {1} channels, of which {2} can be polled: ethtool -L {0} combined {2}",
                             wanted.interface, channels, kMost);
  if (channels < wanted.queues)
    return fmt::format("{} has {} channel{}, {} queues are asked for", wanted.interface, channels,
                       channels == 1 ? "" : "s", wanted.queues);
  if (channels > wanted.queues)
    return fmt::format(
        "{0} has {1} channels, and XDP would miss what comes by others than {2}: queues: {1}, or "
        "ethtool -L {0} combined {2}",
        wanted.interface, channels, wanted.queues);
  return {};
}

// One buffer, its headers included, has to fit into a page.
std::string xdp_refusal_of_pool(const rte_mempool& pool) {
  const auto most = static_cast<std::uint32_t>(getpagesize());
  if (rte_mempool_calc_obj_size(pool.elt_size, pool.flags, nullptr) <= most) return {};
  return "driver: xdp: its packets must fit into a page of memory: no mtu may be above 2816, the largest of "
         "all";
}

std::string xdp_refusal_of_machine(const std::string& driver) {
  if (!is_driver(driver))
    return fmt::format("this DPDK was built without {} (Debian: librte-net-af-xdp23): driver: packet",
                       driver);
  const FileDescriptor socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (socket.is_open()) return {};
  if (errno == EAFNOSUPPORT)
    return "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS; Linux 4.18 or newer): driver: packet";
  return "AF_XDP: " + error_text(errno) + (geteuid() == 0 ? "" : " (vmnatd does not run as root)");
}

}  // namespace vmnat::control
