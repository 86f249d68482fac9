// SPDX-License-Identifier: Apache-2.0
// WakeSet: what wakes a worker that sleeps: its doorbell, and a descriptor of each receive queue, in an epoll.
//
//   doorbell      control has published, injected, asked for something; a worker has handed a frame over;
//                 a guest or a ring has come, gone or changed
//   queue         a guest kicks: the worker has asked it to before it sleeps, and takes that back when awake;
//                 a kernel interface has received
//
// All are waited for edge-triggered and never read: a kick that was seen by a poll already, or that nobody
// needed, costs one wake-up. A queue's descriptor is the worker's own copy, replaced when the device says that
// there is another (WakeSource::generation); so it is never another file, nor closed while it is waited for.
//
// Threads: its worker's.
#pragma once

#include <chrono>
#include <span>

#include "dataplane/device/doorbell.h"
#include "dataplane/worker/receive_queue.h"

namespace vmnat::dataplane {

class WakeSet {
 public:
  // `queues` and the doorbell outlive it; nullptr: nobody rings. Queues stand in the order of their rank.
  WakeSet(std::span<PolledQueue> queues, const Doorbell* doorbell);
  WakeSet(const WakeSet&) = delete;
  WakeSet& operator=(const WakeSet&) = delete;
  ~WakeSet();

  // These instead, which outlive it. Nothing is asked for now.
  void follow(std::span<PolledQueue> queues);

  // Has all queues say when frames come. The worker polls once more before it waits: for what came meanwhile.
  // False: something has to be looked at from time to time, and nothing was asked for.
  bool ask();
  // Awake: nothing needs to be said any more. After ask() has answered true.
  void refuse();
  // Frames are left in a queue, of which nothing tells again. Not of one that a limit holds: that is a matter of time.
  [[nodiscard]] bool has_waiting() const;
  // Until something wakes, or the time is over: false.
  // NOLINTNEXTLINE(modernize-use-nodiscard): whatever it was, the worker looks at everything
  bool wait(std::chrono::milliseconds longest) const;

 private:
  using Source = PolledQueue::Source;
  bool ask(PolledQueue& polled) const;
  [[nodiscard]] bool add(int descriptor) const;
  void release(Source& source) const;

  std::span<PolledQueue> queues_;
  int epoll_ = -1;
  std::size_t silent_ = 0;  // the queue that could not say anything when it was asked last
};

}  // namespace vmnat::dataplane
