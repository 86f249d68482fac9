// SPDX-License-Identifier: Apache-2.0
// EAL and ethdev set-up. All of it runs once, before the first frame.
#include "bench/generator/ports.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>
#include <stdexcept>
#include <unistd.h>
#include <vector>

namespace vmnat::bench {
namespace {

// Beside the ring's entries: bursts under way and the pool's per-lcore cache.
constexpr unsigned kSpareBuffers = 1024;
constexpr unsigned kPoolCache = 256;
constexpr unsigned kSingleFrames = 255;
static_assert(kMostPorts <= RTE_MAX_ETHPORTS);

bool is_vdev(const std::string& spec) {
  return spec.starts_with("net_");
}

std::string vm_role(unsigned number) {
  return fmt::format("vm{}", number);
}

std::string name_of(const std::string& spec, const std::string& role) {
  if (is_socket(spec)) return fmt::format("net_virtio_user_{}", role);
  return spec.substr(0, spec.find(','));
}

std::string devargs_of(const std::string& spec, const std::string& role, const std::string& mac,
                       const VirtioOptions& virtio) {
  if (!is_socket(spec)) return spec;
  return fmt::format("{},path={},mac={},queues=1,queue_size={},packed_vq={},mrg_rxbuf={},in_order=1{}",
                     name_of(spec, role), spec, mac, virtio.queue_size, virtio.packed ? 1 : 0,
                     virtio.mergeable ? 1 : 0, virtio.server ? ",server=1" : "");
}

std::vector<std::string> memory_arguments(const EalOptions& eal) {
  std::vector<std::string> arguments = {"-m", std::to_string(eal.memory_mb)};
  if (!eal.hugepages) {
    arguments.insert(arguments.end(), {"--no-huge", fmt::format("--file-prefix=vmnat-bench{}", getpid())});
  } else {
    // No files that a crash could leave, and few memory regions for virtio-user to hand over.
    arguments.insert(arguments.end(), {"--in-memory", "--single-file-segments"});
  }
  return arguments;
}

std::vector<std::string> eal_arguments(const Options& options) {
  std::vector<std::string> arguments = {"vmnat-bench", "--no-telemetry", "--iova-mode=va",
                                        "--log-level=lib.eal:error",
                                        fmt::format("--lcores=0@{}", options.eal.cpu)};
  const auto memory = memory_arguments(options.eal);
  arguments.insert(arguments.end(), memory.begin(), memory.end());
  bool needs_pci = false;
  const auto add_device = [&](const std::string& spec, const std::string& role, const std::string& mac) {
    const bool is_virtual = is_socket(spec) || is_vdev(spec);
    needs_pci |= !is_virtual;
    arguments.push_back((is_virtual ? "--vdev=" : "--allow=") + devargs_of(spec, role, mac, options.virtio));
  };
  for (unsigned number = 0; number < options.vm_ports(); ++number)
    add_device(options.vm_port_at(number), vm_role(number), fmt::format("52:54:00:be:{:02x}:01", number));
  add_device(options.uplink_port, "uplink", "52:54:00:be:00:02");
  if (!options.flooder_port.empty()) add_device(options.flooder_port, "flooder", "52:54:00:be:00:03");
  if (!needs_pci) arguments.emplace_back("--no-pci");
  arguments.insert(arguments.end(), options.eal.extra.begin(), options.eal.extra.end());
  return arguments;
}

void require(int result, const std::string& what) {
  if (result < 0) throw std::runtime_error(fmt::format("{}: {}", what, rte_strerror(-result)));
}

rte_mempool* new_pool(const std::string& name, unsigned buffers, std::uint16_t port) {
  const auto socket = std::max(0, rte_eth_dev_socket_id(port));
  rte_mempool* pool = rte_pktmbuf_pool_create(name.c_str(), buffers, std::min(kPoolCache, buffers / 2), 0,
                                              RTE_MBUF_DEFAULT_BUF_SIZE, socket);
  if (pool == nullptr)
    throw std::runtime_error(
        fmt::format("no memory for the packet buffers '{}' ({}): give more hugepages, a larger "
                    "--memory, or --no-huge",
                    name, rte_strerror(rte_errno)));
  return pool;
}

void start(std::uint16_t port, unsigned queue_size, rte_mempool* receive_pool,
           std::uint64_t transmit_offloads) {
  rte_eth_conf configuration = {};
  configuration.txmode.offloads = transmit_offloads;
  const auto socket = static_cast<unsigned>(std::max(0, rte_eth_dev_socket_id(port)));
  auto receive_entries = static_cast<std::uint16_t>(queue_size);
  auto transmit_entries = receive_entries;
  require(rte_eth_dev_configure(port, 1, 1, &configuration), "configure port");
  require(rte_eth_dev_adjust_nb_rx_tx_desc(port, &receive_entries, &transmit_entries), "adjust ring sizes");
  require(rte_eth_rx_queue_setup(port, 0, receive_entries, socket, nullptr, receive_pool),
          "set up receive queue");
  require(rte_eth_tx_queue_setup(port, 0, transmit_entries, socket, nullptr), "set up transmit queue");
  require(rte_eth_dev_start(port), "start port");
}

std::uint16_t port_id_of(const std::string& device_name) {
  std::uint16_t id = 0;
  if (rte_eth_dev_get_port_by_name(device_name.c_str(), &id) != 0)
    throw std::runtime_error(fmt::format("no DPDK port comes from '{}'", device_name));
  return id;
}

}  // namespace

std::string vm_device_name(const Options& options, unsigned number) {
  return name_of(options.vm_port_at(number), vm_role(number));
}
std::string uplink_device_name(const Options& options) {
  return name_of(options.uplink_port, "uplink");
}
std::string flooder_device_name(const Options& options) {
  return name_of(options.flooder_port, "flooder");
}

Environment::Environment(const Options& options) {
  std::vector<std::string> arguments = eal_arguments(options);
  std::vector<char*> pointers;
  pointers.reserve(arguments.size());
  for (auto& argument : arguments) pointers.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0)
    throw std::runtime_error(
        fmt::format("EAL does not start ({}): are the sockets there, and hugepages free (or give --no-huge)?",
                    rte_strerror(rte_errno)));
}

Environment::~Environment() {
  rte_eal_cleanup();
}

Port::Port(const std::string& device_name, unsigned queue_size, std::uint64_t transmit_offloads)
    : id_(port_id_of(device_name)) {
  const std::string number = std::to_string(id_);
  receive_pool_ = new_pool("receive" + number, 2 * queue_size + kSpareBuffers - 1, id_);
  load_pool_ = new_pool("load" + number, queue_size + kSpareBuffers - 1, id_);
  single_pool_ = new_pool("single" + number, kSingleFrames, id_);
  start(id_, queue_size, receive_pool_, transmit_offloads);
  rte_ether_addr address;
  require(rte_eth_macaddr_get(id_, &address), "read MAC address");
  std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes), mac_.bytes.begin());
}

Port::~Port() {
  rte_eth_dev_stop(id_);
  rte_eth_dev_close(id_);
}

bool Port::is_up() const {
  rte_eth_link link = {};
  return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

void Port::prepare_load_pool(const FrameTemplate& content) {
  const auto fill = [](rte_mempool*, void* argument, void* object, unsigned) {
    const auto frame = static_cast<const FrameTemplate*>(argument)->bytes();
    auto* buffer = static_cast<rte_mbuf*>(object);
    rte_pktmbuf_reset(buffer);
    buffer->pkt_len = static_cast<std::uint32_t>(frame.size());
    buffer->data_len = static_cast<std::uint16_t>(frame.size());
    std::memcpy(rte_pktmbuf_mtod(buffer, void*), frame.data(), frame.size());
  };
  rte_mempool_obj_iter(load_pool_, fill, const_cast<FrameTemplate*>(&content));
}

void Port::limit_burst(unsigned most, const VirtioOptions& virtio) {
  // The driver's name for the memory of its first transmit queue, in all versions.
  const rte_memzone* memory = rte_memzone_lookup(fmt::format("port{}_vq1", id_).c_str());
  if (memory == nullptr) throw std::runtime_error("--burst: no virtio driver has this port");
  ring_.emplace(static_cast<std::byte*>(memory->addr), virtio.queue_size,
                virtio.packed ? RingFormat::Packed : RingFormat::Split);
  most_under_way_ = most;
}

std::uint16_t Port::transmit(rte_mbuf** frames, std::uint16_t count) {
  if (ring_) {
    const unsigned room = most_under_way_ - std::min(most_under_way_, ring_->frames_under_way());
    count = static_cast<std::uint16_t>(std::min<unsigned>(count, room));
  }
  return rte_eth_tx_burst(id_, 0, frames, count);
}

bool Port::send(std::span<const std::byte> frame) {
  rte_mbuf* buffer = rte_pktmbuf_alloc(single_pool_);
  if (buffer == nullptr) return false;
  std::memcpy(rte_pktmbuf_append(buffer, static_cast<std::uint16_t>(frame.size())), frame.data(),
              frame.size());
  const bool is_sent = rte_eth_tx_burst(id_, 0, &buffer, 1) == 1;
  if (!is_sent) rte_pktmbuf_free(buffer);
  return is_sent;
}

std::span<const std::byte> bytes_of(const rte_mbuf* frame) {
  return {rte_pktmbuf_mtod(frame, const std::byte*), rte_pktmbuf_data_len(frame)};
}

}  // namespace vmnat::bench
