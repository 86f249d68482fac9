// SPDX-License-Identifier: Apache-2.0
// Two VMMs on two sockets: one says and does anything, the other's guest goes on, and nothing is left behind.
//
// Real sockets, librte_vhost's own thread, and this thread as the worker of both ports. The well-behaved
// guest comes once and stays; the other VMM comes anew with each input, which is a script:
//
//   byte 0    features: 1 mergeable, 2 virtio 1, 4 event index, 8 packed
//   then      steps, each a byte and what it takes (see step())
//
// After each input: the first guest's rings still move a frame each way, no descriptor and no buffer is lost.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <linux/sockios.h>
#include <memory>
#include <rte_eal.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <span>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "control/devices/vhost_socket.h"
#include "tests/fuzz/driver.h"

namespace {

using vmnat::control::VhostSocket;
namespace virtio = vmnat::dataplane::virtio;

constexpr std::uint64_t kGuestBase = 0x100000, kUserBase = 0x7f0000000000;
constexpr std::size_t kMemory = 256 << 10;
constexpr std::uint64_t kProtocolFeatures = 1ull << 30;
constexpr std::uint32_t kVersion = 1, kNeedReply = 8;
enum Message : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetProtocolFeatures = 16,
  kSetVringEnable = 18,
  kSetInflightFd = 32,
};

void check(bool is_true, const char* statement) {
  if (!is_true) vmnat::fuzz::fault(statement);
}

rte_mempool* packet_pool() {
  static rte_mempool* const pool = [] {
    std::array<const char*, 9> arguments{
        "fuzz", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "512", "-l", "0"};
    check(rte_eal_init(arguments.size(), const_cast<char**>(arguments.data())) >= 0, "no EAL");
    return rte_pktmbuf_pool_create("fuzz", 4095, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  }();
  return pool;
}

rte_mbuf* frame_of(std::size_t bytes) {
  rte_mbuf* const frame = rte_pktmbuf_alloc(packet_pool());
  check(frame != nullptr, "buffers were lost");
  std::memset(rte_pktmbuf_mtod(frame, char*), 0x5a, bytes);
  frame->data_len = frame->pkt_len = static_cast<std::uint16_t>(bytes);
  return frame;
}

template <typename Condition>
void wait_until(Condition condition, const char* statement) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    check(std::chrono::steady_clock::now() < end, statement);
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

unsigned open_descriptors() {
  DIR* const all = opendir("/proc/self/fd");
  unsigned count = 0;
  while (readdir(all) != nullptr) ++count;
  closedir(all);
  return count;
}

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_ = -1;
};

// A VMM with one guest, whose memory is written to through the file alone: that may have been cut.
class Vmm {
 public:
  explicit Vmm(std::string path) : path_(std::move(path)), memory_(memfd_create("vmnat-fuzz", MFD_CLOEXEC)) {
    check(ftruncate(memory_.get(), kMemory) == 0, "no memory for a guest");
  }
  void connect() { socket_ = Descriptor(stranger()); }
  void hang_up() { socket_ = Descriptor(); }
  // A connection beside the VMM's.
  [[nodiscard]] int stranger() const {
    const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    static_cast<void>(::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address));
    return descriptor;
  }
  // False when the other side has gone.
  bool say(std::uint32_t number, std::span<const std::byte> payload, std::span<const int> descriptors = {},
           std::uint32_t flags = kVersion, std::size_t cut = 0) {
    std::array<std::uint32_t, 3> header{number, flags, static_cast<std::uint32_t>(payload.size())};
    iovec parts[2] = {
        {header.data(), sizeof header},
        {const_cast<std::byte*>(payload.data()), payload.size() - std::min(cut, payload.size())}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
      cmsghdr* const attached = CMSG_FIRSTHDR(&message);
      attached->cmsg_level = SOL_SOCKET;
      attached->cmsg_type = SCM_RIGHTS;
      attached->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(attached), descriptors.data(), descriptors.size_bytes());
    }
    const bool was_sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL) > 0;
    listen();
    return was_sent;
  }
  template <typename... Words>
  bool say_words(std::uint32_t number, std::span<const int> descriptors, Words... words) {
    const std::array<std::uint64_t, sizeof...(words)> payload{static_cast<std::uint64_t>(words)...};
    return say(number, std::as_bytes(std::span(payload)), descriptors);
  }
  bool say_state(std::uint32_t number, std::uint32_t ring, std::uint32_t value) {
    return say_words(number, {}, ring | std::uint64_t{value} << 32);
  }
  // All that has been said is read.
  void wait_until_heard() const {
    wait_until(
        [&] {
          int unread = 0;
          char byte = 0;
          const bool has_gone = recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
          return has_gone || ioctl(socket_.get(), SIOCOUTQ, &unread) != 0 || unread == 0;
        },
        "librte_vhost's thread hears nothing more");
  }

  void negotiate(std::uint64_t features) {
    say(kSetOwner, {});
    say_words(kSetProtocolFeatures, {}, std::uint64_t{1} << 3);
    say_words(kSetFeatures, {}, features | kProtocolFeatures);
    tell_memory();
  }
  void tell_memory() {
    const int file = memory_.get();
    say_words(kSetMemTable, {&file, 1}, 1, kGuestBase, kMemory, kUserBase, 0);
  }
  void start_ring(std::uint32_t ring, std::uint32_t size = kSize) {
    const Descriptor call(eventfd(0, 0)), kick(eventfd(0, 0));
    const int descriptors[2] = {call.get(), kick.get()};
    say_state(kSetVringNum, ring, size);
    say_state(kSetVringBase, ring, 0);
    say_words(kSetVringAddr, {}, ring, kUserBase + at(ring), kUserBase + at(ring) + 0x2000,
              kUserBase + at(ring) + 0x1000, 0);
    say_words(kSetVringCall, {descriptors, 1}, ring);
    say_words(kSetVringKick, {descriptors + 1, 1}, ring);
    say_state(kSetVringEnable, ring, 1);
  }

  // The guest's side.
  static constexpr std::uint16_t kSize = 64;
  static constexpr std::size_t at(unsigned ring) { return ring * 0x4000; }
  void write(std::size_t place, std::span<const std::byte> bytes) const {
    static_cast<void>(pwrite(memory_.get(), bytes.data(), bytes.size(), static_cast<off_t>(place)));
  }
  template <typename T>
  void write_value(std::size_t place, const T& value) const {
    write(place, std::as_bytes(std::span(&value, 1)));
  }
  [[nodiscard]] std::uint16_t used_index(unsigned ring) const {
    std::uint16_t index = 0;
    static_cast<void>(pread(memory_.get(), &index, sizeof index, static_cast<off_t>(at(ring) + 0x2002)));
    return index;
  }
  void offer(unsigned ring, std::uint16_t head) {
    write_value(at(ring) + 0x1004 + 2 * (offered_[ring] % kSize), head);
    write_value(at(ring) + 0x1002, ++offered_[ring]);
  }
  void cut_memory(std::size_t bytes) const {
    static_cast<void>(ftruncate(memory_.get(), static_cast<off_t>(bytes)));
  }
  [[nodiscard]] int memory() const { return memory_.get(); }

 private:
  void listen() const {  // so that answers do not pile up
    std::array<char, 1024> answers{};
    while (recv(socket_.get(), answers.data(), answers.size(), MSG_DONTWAIT) > 0) {
    }
  }
  std::string path_;
  Descriptor memory_, socket_;
  std::uint16_t offered_[2] = {0, 0};
};

struct Port {
  explicit Port(const std::string& name) : path(directory() + "/" + name) {
    auto opened = VhostSocket::open({.name = name, .path = path, .queues = 1});
    check(opened.has_value(), "a socket cannot be opened");
    socket = std::move(*opened);
  }
  // Goes with the process.
  struct Directory {
    Directory() { check(mkdtemp(name) != nullptr, "no directory"); }
    ~Directory() {
      std::error_code ignored;
      std::filesystem::remove_all(name, ignored);
    }
    char name[sizeof "/tmp/vmnat-fuzz-XXXXXX"] = "/tmp/vmnat-fuzz-XXXXXX";
  };
  static std::string directory() {
    static const Directory made;
    return made.name;
  }
  // As a worker does that would sleep, and then does not; what comes is freed.
  unsigned poll() const {
    auto& port = socket->port();
    if (const int kick = port.ask_to_wake(0, 0).descriptor; kick >= 0) close(kick);
    port.has_waiting(0);
    port.stop_waking(0);
    std::array<rte_mbuf*, 32> frames{};
    const std::uint16_t count = port.receive(0, packet_pool(), frames.data(), frames.size());
    for (std::uint16_t i = 0; i < count; ++i) rte_pktmbuf_free(frames[i]);
    return count;
  }
  unsigned send(std::size_t bytes) const {
    std::array<rte_mbuf*, 4> frames{};
    for (rte_mbuf*& frame : frames) frame = frame_of(bytes);
    const auto result = socket->port().transmit(0, frames.data(), frames.size());
    for (unsigned i = 0; i < frames.size(); ++i)
      if (!result.sent.has(i)) rte_pktmbuf_free(frames[i]);
    return result.sent.size();
  }
  std::string path;
  std::unique_ptr<VhostSocket> socket;
};

// What stays from input to input.
struct House {
  House() : quiet("quiet"), loud("loud"), guest(quiet.path) {
    guest.connect();
    guest.negotiate(virtio::kVersion1 | virtio::kMergeableBuffers);
    guest.start_ring(0);
    guest.start_ring(1);
    wait_until([&] { return quiet.socket->port().has_guest(); }, "the quiet guest does not come");
    guest.wait_until_heard();
    for (std::uint16_t i = 0; i < Vmm::kSize; ++i)
      guest.write_value(Vmm::at(0) + i * 16u,
                        virtio::Descriptor{kGuestBase + 0x10000 + i * 2048u, 2048, 2, 0});
    guest.write_value(Vmm::at(1), virtio::Descriptor{kGuestBase + 0x30000, 72, 0, 0});
    buffers = rte_mempool_avail_count(packet_pool());
    descriptors = open_descriptors();
  }
  // Both rings of the quiet guest move a frame.
  void check_quiet_guest() {
    const std::uint16_t received = guest.used_index(0), sent = guest.used_index(1);
    for (std::uint16_t i = 0; i < 4; ++i)
      guest.offer(0, static_cast<std::uint16_t>((received + i) % Vmm::kSize));
    wait_until([&] { return quiet.send(60) == 4; }, "the quiet guest receives nothing more");
    check(guest.used_index(0) == static_cast<std::uint16_t>(received + 4), "frames that did not come");
    guest.offer(1, 0);
    wait_until([&] { return quiet.poll() == 1; }, "the quiet guest's frames are not taken");
    check(guest.used_index(1) == static_cast<std::uint16_t>(sent + 1), "a descriptor that did not come back");
  }
  Port quiet, loud;
  Vmm guest;
  unsigned buffers = 0, descriptors = 0;
};

House& house() {
  static House* const house = [] {  // librte_vhost's thread outlives all destructors
    check(packet_pool() != nullptr, "no buffers");
    rte_log_set_global_level(RTE_LOG_EMERG);
    spdlog::set_level(spdlog::level::off);
    std::signal(SIGPIPE, SIG_IGN);
    return new House;
  }();
  return *house;
}

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> input) : rest_(input) {}
  [[nodiscard]] bool is_at_end() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }
  // Mostly what means something.
  std::uint64_t word() {
    const std::uint8_t kind = byte(), small = byte();
    constexpr std::array<std::uint64_t, 8> kBases{
        0,     kUserBase,  kGuestBase, kUserBase + kMemory - 256, ~std::uint64_t{0} - 255,
        32768, 1ull << 32, 1ull << 40};
    return kBases[kind & 7] + (std::uint64_t{small} << ((kind >> 3 & 3) * 4));
  }

 private:
  std::span<const std::uint8_t> rest_;
};

void say_anything(Vmm& vmm, Reader& reader) {
  const std::uint32_t number = reader.byte() % 48;
  const std::uint8_t shape = reader.byte();
  std::array<std::uint64_t, 16> words{};
  const std::size_t count = shape % 12;
  for (std::size_t i = 0; i < count; ++i) words[i] = reader.word();
  const Descriptor event(eventfd(0, 0)), file(memfd_create("vmnat-fuzz-other", MFD_CLOEXEC));
  static_cast<void>(ftruncate(file.get(), 8192));
  const std::array<int, 4> kinds{vmm.memory(), event.get(), file.get(), STDERR_FILENO};
  std::array<int, 8> descriptors{};
  for (std::size_t i = 0; i < descriptors.size(); ++i)
    descriptors[i] = kinds[(shape / 16u + i) % kinds.size()];
  const auto bytes = std::as_bytes(std::span(words)).first(count * 8);
  // librte_vhost 22.11 loses the descriptors of a message about a ring that cannot be, before anybody is
  // asked.
  const bool names_ring = (number >= kSetVringNum && number <= kGetVringBase) || number == kSetVringEnable ||
                          number == kSetInflightFd;
  const std::uint8_t attached = names_ring ? reader.byte() & 0xf0u : reader.byte();
  vmm.say(number, bytes, std::span(descriptors).first(attached % 16 > 8 ? 0 : attached % 16),
          kVersion | ((attached & 0x80) != 0 ? kNeedReply : 0), (attached & 0x40) != 0 ? 4 : 0);
}

void step(Vmm& vmm, std::uint64_t features, Reader& reader) {
  const House& at = house();
  switch (reader.byte() % 13) {
    case 0:
      vmm.connect();
      break;
    case 1:
      vmm.hang_up();
      vmm.connect();
      break;
    case 2:
      vmm.negotiate(features);
      break;
    case 3:
      vmm.start_ring(reader.byte() % 2u);
      break;
    case 4:
      vmm.say_state(kGetVringBase, reader.byte() % 3u, 0);
      break;
    case 5:
      vmm.say_words(kSetVringAddr, {}, reader.byte() % 2u, reader.word(), reader.word(), reader.word(), 0);
      break;
    case 6:
      vmm.say_state(kSetVringNum + reader.byte() % 3u, reader.byte() % 4u,
                    static_cast<std::uint32_t>(reader.word()));
      break;
    case 7:
      vmm.cut_memory(reader.byte() * 1024u);
      break;
    case 8: {
      const unsigned ring = reader.byte() % 2u;
      const std::uint16_t head = reader.byte() % 64u;
      vmm.write_value(Vmm::at(ring) + head * 16u,
                      virtio::Descriptor{reader.word(), static_cast<std::uint32_t>(reader.word()),
                                         reader.byte(), reader.byte()});
      vmm.offer(ring, head);
      break;
    }
    case 9:
      at.loud.poll();
      at.loud.send(reader.byte() * 7u + 14);
      break;
    case 10: {
      const Descriptor beside(vmm.stranger()), beside_the_other(at.guest.stranger());
      break;
    }
    case 11:
      vmm.say_words(kSetFeatures, {}, reader.word() | (std::uint64_t{reader.byte()} << 26));
      break;
    default:
      say_anything(vmm, reader);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  House& at = house();
  Reader reader({bytes, size});
  const std::uint8_t chosen = reader.byte();
  const std::uint64_t features = ((chosen & 1) != 0 ? virtio::kMergeableBuffers : 0) |
                                 ((chosen & 2) != 0 ? virtio::kVersion1 : 0) |
                                 ((chosen & 4) != 0 ? virtio::kEventIndex : 0) |
                                 ((chosen & 8) != 0 ? virtio::kPackedRing | virtio::kVersion1 : 0);
  {
    Vmm vmm(at.loud.path);
    vmm.connect();
    for (unsigned steps = 0; steps < 64 && !reader.is_at_end(); ++steps) {
      step(vmm, features, reader);
      if ((steps & 3) == 3) at.loud.poll();
    }
    vmm.wait_until_heard();
    at.loud.poll();
    at.loud.send(1514);
    at.check_quiet_guest();
  }
  wait_until([&] { return open_descriptors() == at.descriptors; }, "descriptors were lost");
  check(!at.loud.socket->port().has_guest(), "a guest without a connection");
  check(rte_mempool_avail_count(packet_pool()) == at.buffers, "buffers were lost");
  return 0;
}

namespace vmnat::fuzz {

// A good guest; one that goes on after its memory was cut; one whose rings move; one beside another.
std::vector<std::vector<std::uint8_t>> seeds() {
  std::vector<std::vector<std::uint8_t>> all;
  for (const std::uint8_t features : {0, 2, 3, 7, 8}) {
    all.push_back(
        {features, 2, 3, 0, 3, 1, 8, 0, 1, 2, 4, 1, 100, 2, 0, 8, 1, 2, 2, 4, 0, 100, 0, 0, 9, 20, 9, 200});
    all.push_back({features, 2, 3, 0, 3, 1, 9, 1, 7, 0, 9, 1, 4, 0, 4, 1, 1, 2, 3, 0, 3, 1, 9, 1});
    all.push_back({features, 2, 3, 0, 3, 1, 5, 0, 3, 9, 1, 0, 1, 1, 6, 0, 0, 5, 0, 9, 3, 10, 9, 3});
    all.push_back(
        {features, 2, 3, 0, 12, 32, 3, 0, 8, 0, 0, 0, 2, 0x81, 12, 5, 5, 0, 1, 0, 0, 1, 0, 0, 3, 1, 9, 1});
  }
  return all;
}

}  // namespace vmnat::fuzz
