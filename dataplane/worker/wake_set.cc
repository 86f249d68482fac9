// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/wake_set.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace vmnat::dataplane {

WakeSet::WakeSet(std::span<PolledQueue> queues, const Doorbell* doorbell) : queues_(queues) {
  if (doorbell == nullptr || doorbell->descriptor() < 0) return;
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (!add(doorbell->descriptor())) close(std::exchange(epoll_, -1));
}

WakeSet::~WakeSet() {
  for (PolledQueue& queue : queues_) release(queue.source);
  if (epoll_ >= 0) close(epoll_);
}

bool WakeSet::add(int descriptor) const {
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

// Taken out by hand: a closed copy stays in an epoll for as long as the VMM has the same eventfd open.
void WakeSet::release(Source& source) const {
  if (source.descriptor < 0) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, source.descriptor, nullptr);
  close(source.descriptor);
  source = {};
}

void WakeSet::follow(std::span<PolledQueue> queues) {
  for (PolledQueue& queue : queues_) {
    PolledQueue* const same = find_same(queues, queue);
    if (same != nullptr)
      same->source = std::exchange(queue.source, {});
    else
      release(queue.source);
  }
  queues_ = queues;
  silent_ = 0;
}

bool WakeSet::ask() {
  if (epoll_ < 0) return false;
  if (silent_ < queues_.size() && !ask(queues_[silent_])) return false;  // most likely still so
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (ask(queues_[i])) continue;
    silent_ = i;
    refuse();
    return false;
  }
  // What was asked is visible before the worker looks (virtio 1.1, 2.6.7.1).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return true;
}

bool WakeSet::ask(PolledQueue& polled) const {
  Source& source = polled.source;
  const WakeSource wakes = polled.queue.device.ask_to_wake(polled.queue.queue_id, source.generation);
  if (wakes.kind != WakeSource::Kind::Descriptor) {
    release(source);
    return wakes.kind == WakeSource::Kind::Doorbell;
  }
  if (wakes.descriptor < 0) return true;  // the one that is there
  release(source);
  source = {wakes.generation, wakes.descriptor};
  if (add(source.descriptor)) return true;
  release(source);
  return false;
}

void WakeSet::refuse() {
  for (const PolledQueue& polled : queues_) polled.queue.device.stop_waking(polled.queue.queue_id);
}

bool WakeSet::has_waiting() const {
  return std::ranges::any_of(queues_, [](const PolledQueue& polled) {
    return !polled.is_held && polled.queue.device.has_waiting(polled.queue.queue_id);
  });
}

// Which it was does not matter: the worker polls everything.
bool WakeSet::wait(std::chrono::milliseconds longest) const {
  std::array<epoll_event, 64> events;
  return epoll_wait(epoll_, events.data(), events.size(), static_cast<int>(longest.count())) > 0;
}

}  // namespace vmnat::dataplane
