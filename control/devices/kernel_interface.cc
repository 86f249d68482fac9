// SPDX-License-Identifier: Apache-2.0
#include "control/devices/kernel_interface.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <spdlog/spdlog.h>
#include <system_error>
#include <utility>

#include "control/devices/interface_link.h"
#include "control/devices/tap.h"
#include "control/devices/worker_barrier.h"
#include "control/system/link_state.h"

namespace vmnat::control {
namespace {

tl::unexpected<Error> failure(const std::string& name, std::string what) {
  return tl::unexpected(Error{name, std::move(what)});
}

}  // namespace

Result<std::unique_ptr<KernelInterface>> KernelInterface::open(Settings settings, const KernelLinks& links) {
  const auto found = find_link(settings.name, settings.interface, links);
  if (!found) return tl::unexpected(found.error());
  const KernelLink* const link = *found;
  if (!prepare_worker_barrier())
    return failure(settings.name, "kernel interfaces need the membarrier system call (Linux 4.14 or newer)");
  std::unique_ptr<KernelInterface> opened(new KernelInterface(std::move(settings), links));
  opened->link_ = *link;
  opened->mac_ = link->mac;
  if (auto done = opened->open_queues(*link); !done) return tl::unexpected(done.error());
  if (!opened->tap_queues_.empty()) opened->mac_ = net::mac_made_from(opened->settings_.interface);
  const auto was_down = bring_up(opened->settings_.name, *link);
  if (!was_down) return tl::unexpected(was_down.error());
  opened->was_down_ = *was_down;
  return opened;
}

KernelInterface::KernelInterface(Settings settings, const KernelLinks& links)
    : settings_(std::move(settings)), links_(links) {}

KernelInterface::~KernelInterface() {
  close_queues();
  const bool is_others_too = settings_.vlan != dataplane::kNoVlan;
  if (was_down_ && link_.is_up && !is_others_too) set_link_up(settings_.interface, false);
}

Result<void> KernelInterface::open_queues(const KernelLink& link) {
  index_ = link.index;
  const auto is_attached = attach(link);
  if (!is_attached) return failure(settings_.name, to_string(is_attached.error()));
  if (!*is_attached)
    if (const auto opened = open_sockets(link); !opened)
      return failure(settings_.name, fmt::format("{}: {}", settings_.interface, opened.error().what));
  port_.open();
  return {};
}

Result<bool> KernelInterface::attach(const KernelLink& link) {
  const bool is_tap = link.kind == "tun" && !link.mac.is_zero();  // a TUN has none
  if (!is_tap || link.has_carrier) return false;
  auto attached = attach_to_tap(settings_.interface, settings_.queues);
  if (!attached) return tl::unexpected(attached.error());
  tap_queues_ = std::move(*attached);
  for (unsigned i = 0; i < tap_queues_.size(); ++i) port_.tap(i).open(tap_queues_[i].number());
  return !tap_queues_.empty();
}

// Frames for a MAC that was the interface's, and that our neighbours know, arrive at one that has come back
// with another.
Result<void> KernelInterface::open_sockets(const KernelLink& link) {
  std::optional<int> group;
  for (unsigned i = 0; i < settings_.queues; ++i) {
    auto queue = PacketQueue::open(link.index, settings_.vlan, waiting_);
    if (!queue) return tl::unexpected(queue.error());
    if (settings_.queues > 1) {
      const auto joined = queue->join(group, settings_.spread);
      if (!joined) return tl::unexpected(joined.error());
      group = *joined;
    }
    sockets_.push_back(std::move(*queue));
  }
  if (settings_.is_promiscuous || link.mac != mac_)
    if (const int error = sockets_.front().receive_for_others(link.index); error != 0)
      return failure("", "cannot receive for other MACs: " + std::system_category().message(error));
  for (unsigned i = 0; i < sockets_.size(); ++i)
    port_.socket(i).open(sockets_[i].descriptor(), sockets_[i].ring(), PacketQueue::kSlots);
  return {};
}

void KernelInterface::close_queues() {
  port_.close();
  wait_for_workers(port_);
  for (unsigned i = 0; i < sockets_.size(); ++i) {
    frames_missed_ += sockets_[i].take_missed();
    port_.socket(i).close();
  }
  for (unsigned i = 0; i < tap_queues_.size(); ++i) port_.tap(i).close();
  sockets_.clear();
  tap_queues_.clear();
  index_ = 0;
}

// An interface that is deleted and made again may have the same index.
bool KernelInterface::are_queues_alive() const {
  return std::ranges::all_of(sockets_, &PacketQueue::is_bound) &&
         std::ranges::all_of(tap_queues_, is_attached);
}

void KernelInterface::follow() {
  const KernelLink* const link = links_.find(settings_.interface);
  link_ = link == nullptr ? KernelLink{} : *link;
  const int index = link_.index;
  if (index == index_ && are_queues_alive()) return;
  close_queues();
  was_down_ = false;  // another one is not ours to put down
  if (link == nullptr) return spdlog::warn("{}: interface {} is gone", settings_.name, settings_.interface);
  if (const auto opened = open_queues(*link); !opened) {
    close_queues();
    index_ = index;  // not again before it is another one
    return spdlog::error("{}", to_string(opened.error()));
  }
  spdlog::info("{}: interface {} is back", settings_.name, settings_.interface);
}

void KernelInterface::let_wait(std::uint64_t bytes) {
  if (bytes == waiting_) return;
  waiting_ = bytes;
  for (const PacketQueue& queue : sockets_) queue.let_wait(bytes);
}

bool KernelInterface::is_up() const {
  return port_.is_open() && link_.has_carrier;
}

std::uint16_t KernelInterface::mtu() const {
  return mtu_of(link_);
}

dataplane::Offloads KernelInterface::offloads() const {
  return offloads_of_kernel();
}

std::uint64_t KernelInterface::frames_missed() {
  for (const PacketQueue& queue : sockets_) frames_missed_ += queue.take_missed();
  return frames_missed_ + port_.frames_cut();
}

}  // namespace vmnat::control
