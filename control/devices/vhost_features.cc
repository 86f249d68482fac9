// SPDX-License-Identifier: Apache-2.0
#include "control/devices/vhost_features.h"

#include "dataplane/device/virtio.h"

namespace vmnat::control {
namespace {

using enum config::VirtioFeature;

// A feature, and those of which it needs one (virtio 1.1, 5.1.3.1). Each stands behind what it needs.
struct Need {
  config::VirtioFeature feature;
  std::uint64_t one_of;
};
constexpr Need kNeeds[] = {
    {GuestTso4, feature_bit(GuestCsum)},
    {GuestTso6, feature_bit(GuestCsum)},
    {GuestEcn, feature_bit(GuestTso4) | feature_bit(GuestTso6)},
    {Gso, feature_bit(Csum)},
    {HostTso4, feature_bit(Csum)},
    {HostTso6, feature_bit(Csum)},
    {HostEcn, feature_bit(HostTso4) | feature_bit(HostTso6)},
    {CtrlRx, feature_bit(CtrlVq)},
    {CtrlVlan, feature_bit(CtrlVq)},
    {CtrlRxExtra, feature_bit(CtrlVq)},
    {GuestAnnounce, feature_bit(CtrlVq)},
    {Mq, feature_bit(CtrlVq)},
    {CtrlMacAddr, feature_bit(CtrlVq)},
    {IommuPlatform, feature_bit(Version1)},
    {Packed, feature_bit(Version1)},
    {InOrder, feature_bit(Version1)},
};

}  // namespace

std::uint64_t withheld_features(std::span<const config::VirtioFeature> without, unsigned queues) {
  std::uint64_t withheld = dataplane::virtio::kGuestUfo | dataplane::virtio::kHostUfo;
  if (queues == 1) withheld |= kServedByVmm;
  for (const config::VirtioFeature feature : without) withheld |= feature_bit(feature);
  for (const Need& need : kNeeds)
    if ((need.one_of & ~withheld) == 0) withheld |= feature_bit(need.feature);
  return withheld;
}

}  // namespace vmnat::control
