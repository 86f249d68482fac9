// SPDX-License-Identifier: Apache-2.0
#include "control/vhost_socket.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <fmt/format.h>
#include <linux/membarrier.h>
#include <map>
#include <mutex>
#include <rte_pause.h>
#include <rte_vhost.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vmnat::control {
namespace {

// librte_vhost's callbacks name a guest by its number alone; its socket's path tells whose it is.
class Ports {
 public:
  void add(const std::string& path, dataplane::VhostPort& port) {
    const std::lock_guard lock(mutex_);
    by_path_[path] = &port;
  }
  void remove(const std::string& path) {
    const std::lock_guard lock(mutex_);
    by_path_.erase(path);
  }
  dataplane::VhostPort* of(int guest) {
    std::array<char, PATH_MAX> path{};
    if (rte_vhost_get_ifname(guest, path.data(), path.size()) != 0) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto found = by_path_.find(path.data());
    return found == by_path_.end() ? nullptr : found->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, dataplane::VhostPort*> by_path_;
};

Ports& ports() {
  static Ports ports;
  return ports;
}

std::uint16_t rings_of(int guest) {
  return std::min<std::uint16_t>(rte_vhost_get_vring_num(guest), 2 * dataplane::VhostPort::kMostQueues);
}

// When this returns, no worker is at the rings that does not know what was said before.
void wait_for_workers(const dataplane::VhostPort& port) {
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);  // registered by open(): cannot fail
  while (port.is_in_use()) rte_pause();
}

dataplane::GuestMemory memory_of(int guest) {
  dataplane::GuestMemory memory;
  rte_vhost_memory* table = nullptr;
  if (rte_vhost_get_mem_table(guest, &table) != 0) return memory;
  memory.count = std::min(table->nregions, dataplane::GuestMemory::kMostRegions);
  for (unsigned i = 0; i < memory.count; ++i) {
    const rte_vhost_mem_region& region = table->regions[i];
    const std::uint64_t mapped_at = reinterpret_cast<std::uintptr_t>(region.mmap_addr);
    memory.regions[i] = {region.guest_phys_addr, region.size,
                         static_cast<std::byte*>(region.mmap_addr) + (region.host_user_addr - mapped_at)};
  }
  std::free(table);  // NOLINT: librte_vhost's malloc
  return memory;
}

dataplane::SplitVirtqueue queue_of(int guest, std::uint16_t ring, std::uint64_t features,
                                   const dataplane::GuestMemory& memory) {
  rte_vhost_vring vring{};
  std::uint16_t next_available = 0, next_used = 0;
  if (rte_vhost_get_vhost_vring(guest, ring, &vring) != 0) return {};
  if (rte_vhost_get_vring_base(guest, ring, &next_available, &next_used) != 0) return {};
  return {{.descriptors = static_cast<const dataplane::virtio::Descriptor*>(static_cast<void*>(vring.desc)),
           .available = static_cast<const dataplane::virtio::RingStart*>(static_cast<void*>(vring.avail)),
           .used = static_cast<dataplane::virtio::RingStart*>(static_cast<void*>(vring.used)),
           .size = vring.size,
           .call_fd = vring.callfd,
           .features = features,
           .next_available = next_available,
           .next_used = next_used},
          memory};
}

// Gives the workers the rings as they are now; no worker is at them.
void hand_over(int guest, dataplane::VhostPort& port) {
  using dataplane::VhostPort;
  std::uint64_t features = 0;
  rte_vhost_get_negotiated_features(guest, &features);
  const bool is_driven_here = dataplane::SplitVirtqueue::can_drive(features);
  port.memory() = is_driven_here ? memory_of(guest) : dataplane::GuestMemory{};
  const unsigned rings = is_driven_here ? rings_of(guest) : 0;
  for (std::uint16_t ring = 0; ring < 2 * VhostPort::kMostQueues; ++ring)
    port.queue(ring) =
        ring < rings ? queue_of(guest, ring, features, port.memory()) : dataplane::SplitVirtqueue{};
  port.attach(features);
  port.resume(is_driven_here ? VhostPort::kDrivenHere : guest);
}

// Takes the rings from the workers; librte_vhost learns how far they have come.
void take_back(int guest, dataplane::VhostPort& port) {
  port.pause();
  wait_for_workers(port);
  for (std::uint16_t ring = 0; ring < rings_of(guest); ++ring)
    if (const dataplane::SplitVirtqueue& queue = port.queue(ring); queue.is_open())
      rte_vhost_set_vring_base(guest, ring, queue.next_available(), queue.next_used());
}

// Messages change rings, their addresses, and what memory is mapped. librte_vhost keeps its own bursts out by
// locks, which those that drive the rings here do not take. It may hold them now: nothing here may wait for
// one of its bursts. So a guest that it drives stays with it until the guest goes.
rte_vhost_msg_result before_message(int guest, void* /*message*/) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr) return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
  if (port->is_driven_here())
    take_back(guest, *port);
  else if (port->is_paused())
    port->detach();  // the last message failed: there may be neither rings nor memory any more
  return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}
// Not called after a message that failed.
rte_vhost_msg_result after_message(int guest, void* /*message*/) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port != nullptr && port->is_paused()) hand_over(guest, *port);
  return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}
constexpr rte_vhost_user_extern_ops kMessageCallbacks{.pre_msg_handle = before_message,
                                                      .post_msg_handle = after_message};

// The guest need not tell of frames that it has sent: the rings are polled.
int guest_comes(int guest) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr || rte_vhost_extern_callback_register(guest, &kMessageCallbacks, nullptr) != 0)
    return -1;
  for (std::uint16_t ring = 0; ring < rte_vhost_get_vring_num(guest); ++ring)
    rte_vhost_enable_guest_notification(guest, ring, 0);
  hand_over(guest, *port);
  return 0;
}

void guest_goes(int guest) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr) return;
  take_back(guest, *port);
  port->detach();
}

// A ring that is disabled is not touched any more (vhost-user, "Ring states").
int ring_changes(int guest, std::uint16_t ring, int is_enabled) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr) return 0;
  port->set_enabled(ring, is_enabled != 0);
  if (is_enabled == 0 && port->is_driven_here()) wait_for_workers(*port);
  return 0;
}

void connection_ends(int guest) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr) return;
  for (unsigned ring = 0; ring < 2 * dataplane::VhostPort::kMostQueues; ++ring)
    port->set_enabled(ring, false);
}

constexpr rte_vhost_device_ops kCallbacks = [] {
  rte_vhost_device_ops callbacks{};
  callbacks.new_device = guest_comes;
  callbacks.destroy_device = guest_goes;
  callbacks.vring_state_changed = ring_changes;
  callbacks.destroy_connection = connection_ends;
  return callbacks;
}();

}  // namespace

Result<std::unique_ptr<VhostSocket>> VhostSocket::open(const std::string& name, const std::string& path,
                                                       config::VhostMode mode) {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0)
    return tl::unexpected(
        Error{name, "vhost-user ports need the membarrier system call (Linux 4.14 or newer)"});
  std::unique_ptr<VhostSocket> socket(new VhostSocket(path));
  // Chained buffers come as they are, and what guests leave undone is told by the mbufs' receive flags.
  std::uint64_t flags = RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
  if (mode == config::VhostMode::Client) flags |= RTE_VHOST_USER_CLIENT;
  const auto failure = [&](const char* what) {
    return tl::unexpected(Error{name, fmt::format("DPDK cannot {} the vhost-user socket {}{}", what, path,
                                                  geteuid() == 0 ? "" : " (vmnatd does not run as root)")});
  };
  if (rte_vhost_driver_register(path.c_str(), flags) != 0) return failure("create");
  socket->is_registered_ = true;
  ports().add(path, socket->port_);
  if (rte_vhost_driver_callback_register(path.c_str(), &kCallbacks) != 0) return failure("register");
  if (rte_vhost_driver_start(path.c_str()) != 0) return failure("open");
  return socket;
}

VhostSocket::~VhostSocket() {
  if (!is_registered_) return;
  rte_vhost_driver_unregister(path_.c_str());
  ports().remove(path_);
}

}  // namespace vmnat::control
