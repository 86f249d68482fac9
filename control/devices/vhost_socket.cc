// SPDX-License-Identifier: Apache-2.0
#include "control/devices/vhost_socket.h"

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <poll.h>
#include <rte_vhost.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include "control/devices/vhost_features.h"
#include "control/devices/worker_barrier.h"
#include "dataplane/device/packed_recovery.h"
#include "net/address.h"

namespace vmnat::control {
namespace {

using dataplane::PackedRecovery;
using dataplane::VhostPort;
namespace virtio = dataplane::virtio;

// One thread reads and answers the messages of all VMMs: one that sends half a message, or reads no answers,
// keeps the others waiting for so long and then loses its connection.
constexpr timeval kPatience{.tv_sec = 0, .tv_usec = 100'000};

// librte_vhost's callbacks name a guest by its number alone; its socket's path tells whose it is.
class Sockets {
 public:
  void add(const std::string& path, VhostSocket& socket) {
    const std::lock_guard lock(mutex_);
    by_path_[path] = &socket;
  }
  void remove(const std::string& path) {
    const std::lock_guard lock(mutex_);
    by_path_.erase(path);
  }
  VhostSocket* of(int guest) {
    std::array<char, PATH_MAX> path{};
    if (rte_vhost_get_ifname(guest, path.data(), path.size()) != 0) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto found = by_path_.find(path.data());
    return found == by_path_.end() ? nullptr : found->second;
  }
  // nullptr, too, when the port serves another connection.
  VhostSocket* that_serves(int guest) {
    VhostSocket* const socket = of(guest);
    return socket != nullptr && socket->serves(guest) ? socket : nullptr;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, VhostSocket*> by_path_;
};

Sockets& sockets() {
  static Sockets sockets;
  return sockets;
}

dataplane::GuestMemory memory_of(const rte_vhost_memory& table) {
  dataplane::GuestMemory memory;
  memory.count = std::min(table.nregions, dataplane::GuestMemory::kMostRegions);
  for (unsigned i = 0; i < memory.count; ++i) {
    const rte_vhost_mem_region& region = table.regions[i];
    const std::uint64_t mapped_at = reinterpret_cast<std::uintptr_t>(region.mmap_addr);
    memory.regions[i] = {region.guest_phys_addr, region.size,
                         static_cast<std::byte*>(region.mmap_addr) + (region.host_user_addr - mapped_at)};
  }
  return memory;
}

// The guest need not tell of frames that it has sent: a worker that sleeps asks it to. (librte_vhost would do this for
// us, but goes on doing it when the ring is not where it was.)
void ask_for_silence(const rte_vhost_vring& vring, std::uint64_t features) {
  if ((features & virtio::kPackedRing) != 0)
    virtio::store(static_cast<virtio::EventSuppression*>(static_cast<void*>(vring.device_event))->flags,
                  virtio::EventSuppression::kDisable);
  else if ((features & virtio::kEventIndex) == 0)
    virtio::store(static_cast<virtio::RingStart*>(static_cast<void*>(vring.used))->flags,
                  virtio::RingStart::kNoKick);
}

// Others may let who waits for them wait as long as their owner likes.
bool is_eventfd(int descriptor) {
  std::array<char, 32> target{};
  const auto length =
      readlink(fmt::format("/proc/self/fd/{}", descriptor).c_str(), target.data(), target.size());
  return length > 0 &&
         std::string_view(target.data(), static_cast<std::size_t>(length)) == "anon_inode:[eventfd]";
}

bool is_hung_up(int descriptor) {
  pollfd entry{.fd = descriptor, .events = 0, .revents = 0};
  return poll(&entry, 1, 0) > 0 && (entry.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

// The path that the socket has at this end, or else at the other: empty without one.
std::string path_of(int descriptor, config::VhostMode mode) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  auto* const out = reinterpret_cast<sockaddr*>(&address);
  const int status = mode == config::VhostMode::Server ? getsockname(descriptor, out, &length)
                                                       : getpeername(descriptor, out, &length);
  if (status != 0 || address.sun_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path)) return {};
  return {address.sun_path, strnlen(address.sun_path, sizeof address.sun_path)};
}

bool is_listening(int descriptor) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0;
}

// Those of a message that librte_vhost does not hear of.
void close_descriptors(VhostMessage& message) {
  for (int i = 0; i < message.descriptor_count; ++i) close(message.descriptors[static_cast<unsigned>(i)]);
  message.descriptor_count = 0;
}

int connection_comes(int guest) {
  VhostSocket* const socket = sockets().of(guest);
  return socket != nullptr && socket->take_connection(guest) ? 0 : -1;
}
void connection_ends(int guest) {
  if (VhostSocket* const socket = sockets().that_serves(guest)) socket->end_connection();
}
int guest_comes(int guest) {
  VhostSocket* const socket = sockets().that_serves(guest);
  return socket != nullptr && socket->attach_guest() ? 0 : -1;
}
void guest_goes(int guest) {
  if (VhostSocket* const socket = sockets().that_serves(guest)) socket->detach_guest();
}
int ring_changes(int guest, std::uint16_t ring, int is_enabled) {
  if (VhostSocket* const socket = sockets().that_serves(guest)) socket->change_ring(ring, is_enabled != 0);
  return 0;
}
rte_vhost_msg_result before_message(int guest, void* of_librte_vhost) {
  auto& message = *static_cast<VhostMessage*>(of_librte_vhost);
  if (VhostSocket* const socket = sockets().that_serves(guest)) return socket->before(message);
  close_descriptors(message);  // the rest of what a connection had to say that was given up
  return RTE_VHOST_MSG_RESULT_ERR;
}
// Not called after a message that failed.
rte_vhost_msg_result after_message(int guest, void* message) {
  if (VhostSocket* const socket = sockets().that_serves(guest))
    socket->after(*static_cast<const VhostMessage*>(message));
  return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

constexpr rte_vhost_user_extern_ops kMessageCallbacks{.pre_msg_handle = before_message,
                                                      .post_msg_handle = after_message};
constexpr rte_vhost_device_ops kCallbacks = [] {
  rte_vhost_device_ops callbacks{};
  callbacks.new_connection = connection_comes;
  callbacks.destroy_connection = connection_ends;
  callbacks.new_device = guest_comes;
  callbacks.destroy_device = guest_goes;
  callbacks.vring_state_changed = ring_changes;
  return callbacks;
}();

}  // namespace

Result<std::unique_ptr<VhostSocket>> VhostSocket::open(Settings settings) {
  if (!prepare_worker_barrier())
    return tl::unexpected(
        Error{settings.name, "vhost-user ports need the membarrier system call (Linux 4.14 or newer)"});
  std::unique_ptr<VhostSocket> socket(new VhostSocket(std::move(settings)));
  const std::string& path = socket->settings_.path;
  // Chained buffers come as they are, and what guests leave undone is told by the mbufs' receive flags.
  std::uint64_t flags = RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
  if (socket->settings_.mode == config::VhostMode::Client) flags |= RTE_VHOST_USER_CLIENT;
  const auto failure = [&](const char* what) {
    return tl::unexpected(
        Error{socket->settings_.name, fmt::format("DPDK cannot {} the vhost-user socket {}{}", what, path,
                                                  geteuid() == 0 ? "" : " (vmnatd does not run as root)")});
  };
  if (rte_vhost_driver_register(path.c_str(), flags) != 0) return failure("create");
  rte_vhost_driver_disable_features(path.c_str(), socket->settings_.withheld);
  socket->is_registered_ = true;
  sockets().add(path, *socket);
  if (rte_vhost_driver_callback_register(path.c_str(), &kCallbacks) != 0) return failure("register");
  if (rte_vhost_driver_start(path.c_str()) != 0) return failure("open");
  return socket;
}

VhostSocket::~VhostSocket() {
  if (!is_registered_) return;
  rte_vhost_driver_unregister(settings_.path.c_str());
  sockets().remove(settings_.path);
  end_connection();
}

bool VhostSocket::has_socket_come(SteadyTime now, DirectoryWatch& directories) {
  if (is_known_to_listen_ || !serves(kNobody)) return false;
  const bool has_come = file_.has_come(now, directories.version_of(file_.directory()));
  if (settings_.mode == config::VhostMode::Client && file_.has_changed()) tell_fault(now);
  is_known_to_listen_ = settings_.mode == config::VhostMode::Server && file_.is_there() && !has_come;
  return has_come;
}

// Of what has come to stand where the VMM's socket should be: a line a second at most.
void VhostSocket::tell_fault(SteadyTime now) {
  const std::string fault = file_.fault();
  if (fault.empty() || now < next_fault_line_) return;
  next_fault_line_ = now + std::chrono::seconds(1);
  spdlog::warn("{}: cannot connect to {}: {}", settings_.name, settings_.path, fault);
}

// librte_vhost does not tell which descriptor the connection is.
int VhostSocket::find_connection() const {
  DIR* const all = opendir("/proc/self/fd");
  if (all == nullptr) return -1;
  int found = -1;
  while (const dirent* entry = readdir(all)) {  // NOLINT(concurrency-mt-unsafe): nobody else reads `all`
    const int descriptor = std::atoi(entry->d_name);
    if (descriptor <= 2 || path_of(descriptor, settings_.mode) != settings_.path) continue;
    if (!is_listening(descriptor) && !is_hung_up(descriptor)) found = descriptor;
  }
  closedir(all);
  return found;
}

// In server mode librte_vhost's thread; in client mode that which connects, when nobody is served.
bool VhostSocket::take_connection(int guest) {
  if (guest_.load() != kNobody && !is_hung_up(connection_)) {
    refused_connections_.add(1);
    if (may_log())
      spdlog::warn("{}: a second connection to {} is refused ({} so far)", settings_.name, settings_.path,
                   refused_connections());
    return false;
  }
  if (guest_.load() != kNobody) end_connection();  // its peer has gone
  const int descriptor = find_connection();        // -1: it has gone already
  // librte_vhost connects again after a connection that has ended, and never after one that was not taken.
  if (descriptor < 0 && settings_.mode == config::VhostMode::Server) return false;
  if (rte_vhost_extern_callback_register(guest, &kMessageCallbacks, nullptr) != 0) return false;
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  connection_ = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  memory_.start_over();
  memory_.set_connection(connection_);
  conversation_.emplace(guest, 2 * settings_.queues);
  attachment_.store(Attachment::Connected, std::memory_order_relaxed);
  guest_.store(guest, std::memory_order_release);
  return true;
}

void VhostSocket::end_connection() {
  if (guest_.load() == kNobody) return;
  port_.pause();
  for (unsigned ring = 0; ring < VhostConversation::kMostRings; ++ring) port_.set_enabled(ring, false);
  wait_for_workers(port_);
  port_.detach();
  port_.announce({});
  if (memory_.has_vanished())
    spdlog::error(
        "{}: memory of its VM has vanished (its VMM has cut the file short, or no huge page was left for "
        "it): the connection has been ended",
        settings_.name);
  memory_.forget();
  memory_.set_connection(-1);
  guest_.store(kNobody, std::memory_order_release);
  attachment_.store(Attachment::Nobody, std::memory_order_relaxed);
  conversation_.reset();
  close(connection_);
  connection_ = -1;
}

// Messages change rings, their addresses, and what memory is mapped. librte_vhost keeps its own bursts out by
// locks, which those that drive the rings here do not take. It may hold them now: nothing here may wait for
// one of its bursts. So a guest that it drives stays with it until the guest goes.
rte_vhost_msg_result VhostSocket::before(VhostMessage& message) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  pollfd out{.fd = connection_, .events = POLLOUT, .revents = 0};
  if (poll(&out, 1, 0) == 0 ||
      !conversation_->count(static_cast<std::uint64_t>(now / std::chrono::seconds(1)))) {
    shutdown(connection_, SHUT_RDWR);
    return refuse(message, "more messages than anybody needs, or answers that are not read");
  }
  if (const auto why = conversation_->refusal(message); !why.empty()) return refuse(message, why);
  if (message.request == VhostRequest::SetFeatures)
    message.set_payload(message.payload_as<std::uint64_t>() & ~(kServedByVmm & settings_.withheld));
  if (message.request == VhostRequest::GetQueueNum || message.request == VhostRequest::SendRarp ||
      message.request == VhostRequest::ResetOwner)
    return answer(message);
  if (port_.is_driven_here())
    take_back();
  else if (port_.is_paused())
    port_.detach();  // the last message failed: there may be neither rings nor memory any more
  // A ring that is disabled is not touched any more once that is acknowledged (vhost-user, "Ring states").
  if (message.request == VhostRequest::SetVringEnable && message.payload_as<std::uint32_t>(4) == 0)
    port_.set_enabled(message.payload_as<std::uint32_t>(), false);
  if (message.request == VhostRequest::SetMemTable || message.request == VhostRequest::SetLogBase)
    memory_.forget();
  if (message.request == VhostRequest::GetVringBase) forget_packed_place(message.payload_as<std::uint16_t>());
  conversation_->begin(message);
  memory_.expect_faults_of_this_thread();
  return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

void VhostSocket::after(const VhostMessage& message) {
  conversation_->succeed(message);
  if (message.request == VhostRequest::SetFeatures || message.request == VhostRequest::SetMemTable)
    attachment_.store(conversation_->has_memory() ? Attachment::Connected : Attachment::NoMemory,
                      std::memory_order_relaxed);
  const bool has_mapped =
      message.request == VhostRequest::SetMemTable || message.request == VhostRequest::SetLogBase;
  if (has_mapped && port_.has_guest()) watch_memory();  // librte_vhost keeps its own bursts out meanwhile
  if (port_.is_paused()) hand_over();
}

rte_vhost_msg_result VhostSocket::refuse(VhostMessage& message, std::string_view why) {
  close_descriptors(message);
  refused_messages_.add(1);
  if (message.request == VhostRequest::SetMemTable) withdraw();
  if (may_log())
    spdlog::warn("{}: vhost-user message {} is refused: {}", settings_.name,
                 static_cast<std::uint32_t>(message.request), why);
  return RTE_VHOST_MSG_RESULT_ERR;
}

// The guest's memory is not what its VMM takes it for: until there is another connection, nothing moves. What
// is mapped stays so: who drives the rings may be at them.
void VhostSocket::withdraw() {
  if (port_.is_driven_here()) take_back();
  port_.pause();
  port_.detach();
}

rte_vhost_msg_result VhostSocket::answer(VhostMessage& message) {
  if (message.request == VhostRequest::GetQueueNum) {
    message.set_payload(settings_.queues);
    return RTE_VHOST_MSG_RESULT_REPLY;
  }
  if (message.request == VhostRequest::SendRarp) announce(message);
  return RTE_VHOST_MSG_RESULT_OK;  // and RESET_OWNER is to be ignored, as vhost-user says itself
}

void VhostSocket::announce(const VhostMessage& message) {
  const auto mac = message.payload_as<net::MacAddr>();
  if (!mac.is_zero() && !mac.is_group()) port_.announce(mac);
}

// Gives the workers the rings as they are now; no worker is at them.
void VhostSocket::hand_over() {
  const std::uint64_t features = conversation_->features();
  const bool is_driven_here = dataplane::GuestQueue::can_drive(features);
  port_.memory() = {};
  rte_vhost_memory* table = nullptr;
  if (conversation_->has_memory() && rte_vhost_get_mem_table(guest_.load(), &table) == 0) {
    port_.memory() = memory_of(*table);
    std::free(table);  // NOLINT: librte_vhost's malloc
  }
  for (std::uint16_t ring = 0; ring < VhostConversation::kMostRings; ++ring) {
    find_packed_place(ring);
    port_.queue(ring) = is_driven_here ? queue_of(ring, features) : dataplane::GuestQueue{};
    if (!is_driven_here && (!conversation_->is_sound(ring) || !conversation_->is_prepared(ring)))
      port_.set_enabled(ring, false);
  }
  port_.attach(features);
  port_.resume(is_driven_here ? VhostPort::kDrivenHere : guest_.load());
}

// Once after the VMM has said where the ring is.
void VhostSocket::find_packed_place(std::uint16_t ring) {
  rte_vhost_vring vring{};
  if (!conversation_->is_packed() || !conversation_->is_sound(ring) ||
      rte_vhost_get_vhost_vring(guest_.load(), ring, &vring) != 0)
    return;
  const auto told = conversation_->take_told_place(ring);
  if (!told) return;
  auto& event = *static_cast<virtio::EventSuppression*>(static_cast<void*>(vring.device_event));
  if (PackedRecovery::is_forgotten(event, *told)) {
    auto* const descriptors = static_cast<virtio::PackedDescriptor*>(static_cast<void*>(vring.desc_packed));
    if (const auto found = PackedRecovery({descriptors, vring.size}, port_.memory()).recover())
      rte_vhost_set_vring_base(guest_.load(), ring, *found, *found);
  }
  PackedRecovery::remember(event, *told);
}

// The VMM asks where it is.
void VhostSocket::forget_packed_place(std::uint16_t ring) {
  rte_vhost_vring vring{};
  std::uint16_t next_available = 0, next_used = 0;
  if (!conversation_->is_packed() || !conversation_->is_sound(ring) ||
      rte_vhost_get_vhost_vring(guest_.load(), ring, &vring) != 0 ||
      rte_vhost_get_vring_base(guest_.load(), ring, &next_available, &next_used) != 0)
    return;
  PackedRecovery::forget(*static_cast<virtio::EventSuppression*>(static_cast<void*>(vring.device_event)),
                         next_available);
}

// Takes the rings from the workers; librte_vhost learns how far they have come.
void VhostSocket::take_back() {
  port_.pause();
  wait_for_workers(port_);
  for (std::uint16_t ring = 0; ring < VhostConversation::kMostRings; ++ring)
    if (dataplane::GuestQueue& queue = port_.queue(ring); queue.is_open()) {
      queue.refuse_kicks();  // which a worker that sleeps may have asked for
      rte_vhost_set_vring_base(guest_.load(), ring, queue.next_available(), queue.next_used());
    }
}

dataplane::GuestQueue VhostSocket::queue_of(std::uint16_t ring, std::uint64_t features) {
  const int guest = guest_.load();
  rte_vhost_vring vring{};
  std::uint16_t next_available = 0, next_used = 0;
  if (!conversation_->is_sound(ring) || rte_vhost_get_vhost_vring(guest, ring, &vring) != 0) return {};
  if (rte_vhost_get_vring_base(guest, ring, &next_available, &next_used) != 0) return {};
  ask_for_silence(vring, features);
  return {{.descriptors = vring.desc,
           .available = vring.avail,
           .used = vring.used,
           .size = vring.size,
           .call_fd = vring.callfd,
           .kick_fd = is_eventfd(vring.kickfd) ? vring.kickfd : -1,
           .features = features,
           .next_available = next_available,
           .next_used = next_used,
           .deferrals = &port_.deferrals(ring),
           .interrupts = &port_.interrupts(ring)},
          port_.memory()};
}

void VhostSocket::watch_memory() {
  memory_.forget();
  rte_vhost_memory* table = nullptr;
  if (conversation_->has_memory() && rte_vhost_get_mem_table(guest_.load(), &table) == 0) {
    for (unsigned i = 0; i < table->nregions; ++i)
      memory_.watch(table->regions[i].mmap_addr, table->regions[i].mmap_size);
    std::free(table);  // NOLINT: librte_vhost's malloc
  }
  std::uint64_t log = 0, log_bytes = 0;
  if (rte_vhost_get_log_base(guest_.load(), &log, &log_bytes) == 0 && log != 0)
    memory_.watch(std::bit_cast<void*>(log), log_bytes);
}

bool VhostSocket::attach_guest() {
  if (!conversation_->has_memory()) return false;
  watch_memory();
  hand_over();
  return true;
}

void VhostSocket::detach_guest() {
  take_back();
  port_.detach();
  memory_.forget();
}

void VhostSocket::change_ring(std::uint16_t ring, bool is_enabled) {
  const std::uint64_t features = conversation_->features();
  const bool is_driven_here = dataplane::GuestQueue::can_drive(features);
  rte_vhost_vring vring{};
  if (is_enabled && !is_driven_here) {
    is_enabled = conversation_->is_sound(ring) && conversation_->is_prepared(ring) &&
                 rte_vhost_get_vhost_vring(guest_.load(), ring, &vring) == 0;
    if (is_enabled) ask_for_silence(vring, features);
  }
  port_.set_enabled(ring, is_enabled);
  if (!is_enabled && port_.is_driven_here()) wait_for_workers(port_);
}

// A line a second at most, of what others can bring about as often as they like.
bool VhostSocket::may_log() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_line_) return false;
  next_line_ = now + std::chrono::seconds(1);
  return true;
}

}  // namespace vmnat::control
