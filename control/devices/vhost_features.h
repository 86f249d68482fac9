// SPDX-License-Identifier: Apache-2.0
// Which of virtio's features a port offers to its VM: those of librte_vhost, less what the file takes away, and less
// what nobody would serve.
//
// librte_vhost also offers what only a VMM can serve: a control queue, and what is told by it. QEMU has one whatever is
// offered here, and asks only for MQ; user-mode-linux hands all that is offered on to its guest, whose driver then waits
// for answers on a queue that nobody reads. So a port with one queue pair offers none of it. One with several does: a
// guest cannot use them without a control queue, and its VMM has one.
//
//   queues: 1, without: [guest_csum]    withheld: guest_csum, and guest_tso4, guest_tso6, guest_ecn, which need it;
//                                       ctrl_vq, ctrl_rx, guest_announce, mq, ...
#pragma once

#include <cstdint>
#include <span>

#include "control/config/model.h"

namespace vmnat::control {

constexpr std::uint64_t feature_bit(config::VirtioFeature feature) {
  return std::uint64_t{1} << static_cast<unsigned>(feature);
}

// What is between a guest and its VMM alone: a VMM may set it though it is withheld, as one that was told otherwise by
// the vmnatd before this one, and it is passed over.
inline constexpr std::uint64_t kServedByVmm = [] {
  using enum config::VirtioFeature;
  return feature_bit(CtrlVq) | feature_bit(CtrlRx) | feature_bit(CtrlVlan) | feature_bit(CtrlRxExtra) |
         feature_bit(GuestAnnounce) | feature_bit(Mq) | feature_bit(CtrlMacAddr);
}();

// The bits that a port with so many queue pairs does not offer.
std::uint64_t withheld_features(std::span<const config::VirtioFeature> without, unsigned queues);

}  // namespace vmnat::control
