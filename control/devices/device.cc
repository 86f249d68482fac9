// SPDX-License-Identifier: Apache-2.0
#include "control/devices/device.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <net/if.h>
#include <optional>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <spdlog/spdlog.h>
#include <sstream>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "control/devices/socket_access.h"
#include "control/devices/vhost_features.h"
#include "control/devices/worker_barrier.h"
#include "control/system/unix_socket.h"
#include "dataplane/device/offload.h"

namespace vmnat::control {
namespace {

constexpr std::uint16_t kReceiveDescriptors = 1024;
constexpr std::uint16_t kTransmitDescriptors = 1024;
constexpr std::uint16_t kLeastSegment = 256;  // NICs stop a queue that is given less ("malicious driver")
constexpr std::uint64_t kChecksums = RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
constexpr std::uint64_t kTransmitOffloads =
    kChecksums | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

std::string error_text(int negative_errno) {
  return std::generic_category().message(std::abs(negative_errno));
}

tl::unexpected<Error> failure(const DeviceRequest& request, std::string what) {
  return tl::unexpected(Error{request.name, std::move(what)});
}

std::string too_few_queues(unsigned there, unsigned wanted) {
  return fmt::format("has {} queue{}, {} are asked for", there, there == 1 ? "" : "s", wanted);
}

// Devargs that make DPDK create the device, and what the device is called there.
struct Plan {
  std::string devargs;
  std::string kind;
};

struct VhostPlan {
  std::string path;
  config::VhostMode mode = config::VhostMode::Server;
  unsigned queues = 1;
};

// "net_vhost0,iface=/run/x,queues=2,client=1", as DPDK's own driver of that name takes it.
Result<VhostPlan> vhost_plan_of_devargs(const DeviceRequest& request) {
  VhostPlan plan;
  std::istringstream arguments(
      request.device.substr(std::min(request.device.size(), request.device.find(','))));
  std::string argument;
  while (std::getline(arguments, argument, ',')) {
    const std::string key = argument.substr(0, argument.find('='));
    const std::string value = argument.substr(std::min(argument.size(), key.size() + 1));
    if (key == "iface")
      plan.path = value;
    else if (key == "queues")
      plan.queues = static_cast<unsigned>(std::strtoul(value.c_str(), nullptr, 10));
    else if (key == "client")
      plan.mode = value == "1" ? config::VhostMode::Client : config::VhostMode::Server;
    else if (!key.empty())
      return failure(request, fmt::format("net_vhost takes iface, queues and client here, not \"{}\"", key));
  }
  if (plan.path.empty()) return failure(request, "net_vhost needs iface=, the socket's path");
  return plan;
}

Result<VhostPlan> plan_vhost(const DeviceRequest& request) {
  VhostPlan plan{.path = request.vhost_user, .mode = request.mode, .queues = request.queues};
  if (request.vhost_user.empty()) {
    auto parsed = vhost_plan_of_devargs(request);
    if (!parsed) return parsed;
    plan = *parsed;
  }
  if (auto made = make_socket_directory(request.name, plan.path, request.sockets); !made)
    return tl::unexpected(made.error());
  return plan;
}

// Not that of devargs, which names a socket for another gateway or a test.
void open_to_vmms(const DeviceRequest& request) {
  if (request.mode == config::VhostMode::Server)
    grant_socket(request.name, request.vhost_user, request.access);
  const std::string obstacle = obstacle_for_vmm(request.vhost_user, request.mode, request.access.group);
  if (!obstacle.empty())
    spdlog::info("{}: only a VMM of root's can use {}: {}", request.name, request.vhost_user, obstacle);
}

Plan plan_device(const DeviceRequest& request) {
  const bool is_pci = config::device_kind(request.device) == config::DeviceKind::Pci;
  return {request.device, is_pci ? "pci" : "devargs"};
}

// DPDK's port for the devargs: PCI devices were found when the EAL started, others are created now.
Result<std::uint16_t> create_port(const DeviceRequest& request, const Plan& plan) {
  const std::string name = plan.devargs.substr(0, plan.devargs.find(','));
  std::uint16_t port_id = 0;
  if (plan.kind == "pci") {
    if (rte_eth_dev_get_port_by_name(name.c_str(), &port_id) == 0) return port_id;
    const bool is_there = rte_dev_probe(plan.devargs.c_str()) == 0;  // since the start, or closed meanwhile
    if (is_there && rte_eth_dev_get_port_by_name(name.c_str(), &port_id) == 0) return port_id;
    return failure(request, fmt::format("DPDK does not drive {}; bind it: driverctl set-override {} vfio-pci",
                                        name, name));
  }
  if (const int status = rte_dev_probe(plan.devargs.c_str()); status != 0)
    return failure(request, fmt::format("DPDK cannot open \"{}\": {}{}", plan.devargs, error_text(status),
                                        geteuid() == 0 ? "" : " (vmnatd does not run as root)"));
  if (rte_eth_dev_get_port_by_name(name.c_str(), &port_id) != 0)
    return failure(request, fmt::format("\"{}\" is no Ethernet device", plan.devargs));
  return port_id;
}

// Of one frame. A driver that takes no chains reads beyond the first buffer as if it were whole.
std::uint16_t most_buffers_of(const rte_eth_dev_info& info) {
  if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0) return 1;
  return info.tx_desc_lim.nb_seg_max == 0 ? UINT16_MAX : info.tx_desc_lim.nb_seg_max;
}

}  // namespace

unsigned buffer_bytes(std::uint16_t mtu) {
  constexpr unsigned headers = 256, unit = 1024, least = 2048, most = 10 * unit;
  return std::clamp((mtu + headers + unit - 1) / unit * unit, least, most);
}

Result<Device> Device::open(const DeviceRequest& request, std::span<rte_mempool* const> pools,
                            const KernelLinks* links) {
  auto opened = open_kind(request, pools, links);
  if (opened) opened->vlan_ = request.vlan.value_or(dataplane::kNoVlan);
  return opened;
}

Result<Device> Device::open_trunk(const DeviceRequest& request, std::span<rte_mempool* const> pools) {
  if (!prepare_worker_barrier())
    return failure(request,
                   "several VLANs of a device need the membarrier system call (Linux 4.14 or newer)");
  auto opened = open_kind(request, pools, nullptr);
  if (opened) opened->trunk_ = std::make_unique<dataplane::Trunk>(opened->port_id_);
  return opened;
}

// Its other VLANs go on meanwhile.
Result<Device> Device::join(std::shared_ptr<Device> whole, const DeviceRequest& request) {
  std::uint16_t mtu = 0;
  const bool is_known = rte_eth_dev_get_mtu(whole->port_id_, &mtu) == 0;
  Result<void> done{};
  if (is_known && mtu < request.mtu) done = whole->set_mtu(request.mtu, request);
  if (done && request.promiscuous == Promiscuous::Yes) done = whole->receive_for_others(request);
  if (!done) return tl::unexpected(done.error());
  return Device(std::move(whole), *request.vlan);
}

Device::Device(std::shared_ptr<Device> whole, std::uint16_t vlan)
    : port_id_(whole->port_id_),
      kind_(whole->kind_),
      transmit_offloads_(whole->transmit_offloads_),
      most_buffers_(whole->most_buffers_),
      queues_(whole->queues_),
      vlan_(vlan),
      rss_table_capacity_(whole->rss_table_capacity_),
      numa_node_(whole->numa_node_),
      whole_(std::move(whole)) {
  whole_->trunk_->join(vlan_);
}

// No worker polls this VLAN any more, but maybe others of the trunk.
void Device::leave_trunk() {
  dataplane::Trunk& trunk = *whole_->trunk_;
  trunk.leave(vlan_);
  wait_for_workers(trunk);
  trunk.forget(vlan_);
}

Result<Device> Device::open_kind(const DeviceRequest& request, std::span<rte_mempool* const> pools,
                                 const KernelLinks* links) {
  if (request.host) return open_host(request);
  if (request.is_vhost()) return open_vhost(request);
  if (request.is_kernel_interface())
    return request.driver == config::KernelDriver::Xdp ? open_xdp(request, pools, *links)
                                                       : open_interface(request, *links);
  const Plan plan = plan_device(request);
  const auto port_id = create_port(request, plan);
  if (!port_id) return tl::unexpected(port_id.error());
  Device device(*port_id, plan.kind);
  device.numa_node_ = numa_node_of_device(request.device);
  if (auto started = device.start(request, pools); !started) return tl::unexpected(started.error());
  return device;
}

Result<Device> Device::open_vhost(const DeviceRequest& request) {
  const auto plan = plan_vhost(request);
  if (!plan) return tl::unexpected(plan.error());
  const unsigned most = std::min(plan->queues, dataplane::VhostPort::kMostQueues);
  if (request.queues > most && !request.fewer_queues_will_do)
    return failure(request, too_few_queues(most, request.queues));
  const SocketDirectoryLock lock(plan->path);
  if (plan->mode == config::VhostMode::Server)
    if (auto cleared = remove_stale_socket(plan->path); !cleared) return tl::unexpected(cleared.error());
  const unsigned queues = std::min(request.queues, most);
  auto socket = VhostSocket::open({.name = request.name,
                                   .path = plan->path,
                                   .mode = plan->mode,
                                   .queues = queues,
                                   .withheld = withheld_features(request.without, queues)});
  if (!socket) return tl::unexpected(socket.error());
  if (!request.vhost_user.empty()) open_to_vmms(request);
  Device device(kNone, "vhost-user");
  device.vhost_ = std::move(*socket);
  device.vhost_mac_ = net::mac_made_from(plan->path);
  device.queues_ = static_cast<std::uint16_t>(queues);
  return device;
}

Result<Device> Device::open_host(const DeviceRequest& request) {
  auto opened = HostInterface::open({.name = request.name,
                                     .interface = request.device,
                                     .address = request.host->address,
                                     .mac = request.host->mac,
                                     .mtu = request.mtu});
  if (!opened) return tl::unexpected(opened.error());
  Device device(kNone, "host");
  device.host_ = std::move(*opened);
  return device;
}

Result<Device> Device::open_interface(const DeviceRequest& request, const KernelLinks& links) {
  const unsigned most = dataplane::KernelPort::kMostQueues;
  if (request.queues > most && !request.fewer_queues_will_do)
    return failure(request, too_few_queues(most, request.queues));
  const unsigned queues = std::min(request.queues, most);
  auto opened =
      KernelInterface::open({.name = request.name,
                             .interface = request.device,
                             .queues = queues,
                             .vlan = request.vlan.value_or(dataplane::kNoVlan),
                             .is_promiscuous = request.promiscuous == Promiscuous::Yes,
                             .spread = request.receives_replies ? PacketQueue::Spread::DestinationPorts
                                                                : PacketQueue::Spread::Flows},
                            links);
  if (!opened) return tl::unexpected(opened.error());
  Device device(kNone, "kernel");
  device.interface_ = std::move(*opened);
  device.queues_ = static_cast<std::uint16_t>(queues);
  device.numa_node_ = numa_node_of_device(request.device);
  return device;
}

Result<Device> Device::open_xdp(const DeviceRequest& request, std::span<rte_mempool* const> pools,
                                const KernelLinks& links) {
  for (const rte_mempool* pool : pools)
    if (auto why = xdp_refusal_of_pool(*pool); !why.empty()) return failure(request, std::move(why));
  auto opened = XdpInterface::open({.name = request.name,
                                    .interface = request.device,
                                    .queues = request.queues,
                                    .fewer_queues_will_do = request.fewer_queues_will_do,
                                    .is_promiscuous = request.promiscuous == Promiscuous::Yes},
                                   links);
  if (!opened) return tl::unexpected(opened.error());
  const auto port_id = create_port(request, {(*opened)->devargs(request.number), "xdp"});
  if (!port_id) return tl::unexpected(port_id.error());
  Device device(*port_id, "xdp");
  device.xdp_ = std::move(*opened);
  device.numa_node_ = numa_node_of_device(request.device);
  if (auto started = device.start(request, pools); !started) return tl::unexpected(started.error());
  return device;
}

Result<void> Device::start(const DeviceRequest& request, std::span<rte_mempool* const> pools) {
  rte_eth_dev_info info{};
  if (const int status = rte_eth_dev_info_get(port_id_, &info); status != 0)
    return failure(request, "does not say what it can do: " + error_text(status));
  most_buffers_ = most_buffers_of(info);
  rss_table_capacity_ = info.reta_size;
  auto done = choose_queues(request, info);
  if (done) done = configure(request, info);
  if (done) done = set_up_queues(request, pools);
  if (!done) return done;
  if (const int status = rte_eth_dev_start(port_id_); status != 0)
    return failure(request, "cannot be started: " + error_text(status));
  const bool is_left_to_us = request.promiscuous == Promiscuous::Yes && xdp_ == nullptr;
  return is_left_to_us ? receive_for_others(request) : Result<void>{};
}

Result<void> Device::choose_queues(const DeviceRequest& request, const rte_eth_dev_info& info) {
  const unsigned most = std::min(info.max_rx_queues, info.max_tx_queues);
  if (request.queues > most && !request.fewer_queues_will_do)
    return failure(request, too_few_queues(most, request.queues));
  // Of an interface that XDP takes frames from, all channels.
  queues_ = static_cast<std::uint16_t>(xdp_ == nullptr ? std::min(request.queues, most) : most);
  return {};
}

// Transmit offloads are taken where there are any.
Result<void> Device::configure(const DeviceRequest& request, const rte_eth_dev_info& info) {
  transmit_offloads_ = info.tx_offload_capa & kTransmitOffloads;
  rte_eth_conf conf{};
  conf.txmode.offloads = transmit_offloads_;
  if (queues_ > 1 && info.flow_type_rss_offloads != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf =
        info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
  }
  if (const int status = rte_eth_dev_configure(port_id_, queues_, queues_, &conf); status != 0)
    return failure(request, "cannot be configured: " + error_text(status));
  if (xdp_ != nullptr) return {};  // the interface's MTU is the administrator's
  return set_mtu(std::max(request.mtu, request.trunk_mtu), request);
}

Result<void> Device::set_mtu(std::uint16_t mtu, const DeviceRequest& request) {
  const int status = rte_eth_dev_set_mtu(port_id_, mtu);
  if (status != 0 && status != -ENOTSUP)
    return failure(request, fmt::format("does not take an MTU of {}: {}", mtu, error_text(status)));
  return {};
}

Result<void> Device::set_up_queues(const DeviceRequest& request, std::span<rte_mempool* const> pools) {
  std::uint16_t rx = kReceiveDescriptors;
  std::uint16_t tx = kTransmitDescriptors;
  rte_eth_dev_adjust_nb_rx_tx_desc(port_id_, &rx, &tx);
  const auto node = static_cast<unsigned>(rte_eth_dev_socket_id(port_id_));
  for (std::uint16_t queue = 0; queue < queues_; ++queue) {
    rte_mempool* const pool = pools[queue % pools.size()];
    if (const int status = rte_eth_rx_queue_setup(port_id_, queue, rx, node, nullptr, pool); status != 0)
      return failure(request, "receive queue cannot be set up: " + error_text(status));
    if (const int status = rte_eth_tx_queue_setup(port_id_, queue, tx, node, nullptr); status != 0)
      return failure(request, "transmit queue cannot be set up: " + error_text(status));
  }
  return {};
}

Result<void> Device::receive_for_others(const DeviceRequest& request) {
  const int status = rte_eth_promiscuous_enable(port_id_);
  if (status != 0 && status != -ENOTSUP)
    return failure(request, "cannot receive for other MACs: " + error_text(status));
  return {};
}

Device::Device(Device&& other) noexcept
    : port_id_(std::exchange(other.port_id_, kNone)),
      kind_(std::move(other.kind_)),
      transmit_offloads_(other.transmit_offloads_),
      most_buffers_(other.most_buffers_),
      queues_(other.queues_),
      vlan_(other.vlan_),
      rss_table_capacity_(other.rss_table_capacity_),
      numa_node_(other.numa_node_),
      vhost_(std::move(other.vhost_)),
      interface_(std::move(other.interface_)),
      host_(std::move(other.host_)),
      xdp_(std::move(other.xdp_)),
      vhost_mac_(other.vhost_mac_),
      trunk_(std::move(other.trunk_)),
      whole_(std::move(other.whole_)) {}

Device::~Device() {
  if (whole_ != nullptr)
    leave_trunk();
  else if (port_id_ != kNone)
    close_port();
}

void Device::close_port() {
  rte_eth_dev_info info{};
  const bool known = rte_eth_dev_info_get(port_id_, &info) == 0;
  rte_eth_dev_stop(port_id_);
  rte_eth_dev_close(port_id_);
  if (known && info.device != nullptr && kind_ != "pci") rte_dev_remove(info.device);
}

net::MacAddr Device::mac() const {
  if (vhost_ != nullptr) return vhost_mac_;
  if (interface_ != nullptr) return interface_->mac();
  if (host_ != nullptr) return host_->mac();
  rte_ether_addr address{};
  rte_eth_macaddr_get(port_id_, &address);
  net::MacAddr mac;
  std::memcpy(mac.bytes.data(), address.addr_bytes, mac.bytes.size());
  return mac;
}

std::uint16_t Device::open_transmit_queues() const {
  if (vhost_ == nullptr) return queues_;
  return static_cast<std::uint16_t>(std::clamp<unsigned>(vhost_->port().open_receive_queues(), 1, queues_));
}

dataplane::Offloads Device::offloads() const {
  if (vhost_ != nullptr) return dataplane::offloads_of_guest(vhost_->port().features());
  if (interface_ != nullptr) return interface_->offloads();
  if (host_ != nullptr) return host_->offloads();
  const bool checksums = (transmit_offloads_ & kChecksums) == kChecksums;
  const bool segments = checksums && (transmit_offloads_ & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
  return {.checksums = checksums,
          .tcp4_segments = segments,
          .tcp6_segments = segments,
          .prefers_segments = kind_ == "pci",
          .least_segment = kLeastSegment,
          .most_buffers = most_buffers_};
}

std::uint16_t Device::mtu() const {
  if (interface_ != nullptr) return interface_->mtu();
  if (host_ != nullptr) return host_->mtu();
  return xdp_ == nullptr ? UINT16_MAX : xdp_->mtu();
}

bool Device::is_up() const {
  if (vhost_ != nullptr) return vhost_->port().has_guest();
  if (interface_ != nullptr) return interface_->is_up();
  if (host_ != nullptr) return host_->is_up();
  if (xdp_ != nullptr) return xdp_->is_up();
  rte_eth_link link{};
  return rte_eth_link_get_nowait(port_id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace vmnat::control
