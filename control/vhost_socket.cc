// SPDX-License-Identifier: Apache-2.0
#include "control/vhost_socket.h"

#include <array>
#include <climits>
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

// The guest need not tell of frames that it has sent: the rings are polled.
int guest_comes(int guest) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr) return -1;
  for (std::uint16_t ring = 0; ring < rte_vhost_get_vring_num(guest); ++ring)
    rte_vhost_enable_guest_notification(guest, ring, 0);
  std::uint64_t features = 0;
  rte_vhost_get_negotiated_features(guest, &features);
  port->attach(guest, features);
  return 0;
}

// When this returns, no worker is at the guest's rings.
void guest_goes(int guest) {
  dataplane::VhostPort* port = ports().of(guest);
  if (port == nullptr) return;
  port->revoke();
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);  // registered by open(): cannot fail
  while (port->is_in_use()) rte_pause();
}

int ring_changes(int guest, std::uint16_t ring, int is_enabled) {
  if (dataplane::VhostPort* port = ports().of(guest)) port->set_enabled(ring, is_enabled != 0);
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
