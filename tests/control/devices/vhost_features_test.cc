// SPDX-License-Identifier: Apache-2.0
// What a port does not offer: what is named, what needs it, and what nobody would serve.
#include "control/devices/vhost_features.h"

#include <gtest/gtest.h>

#include "dataplane/device/virtio.h"

namespace vmnat::control {
namespace {

using enum config::VirtioFeature;
namespace virtio = dataplane::virtio;

constexpr std::uint64_t kNever = virtio::kGuestUfo | virtio::kHostUfo;

std::uint64_t withheld(std::vector<config::VirtioFeature> without, unsigned queues = 2) {
  return withheld_features(without, queues) & ~kNever;
}

TEST(WithheldFeatures, DatagramsToBeFragmentedAreNeverOffered) {
  EXPECT_EQ(withheld_features({}, 2), kNever);
}

TEST(WithheldFeatures, OfOneQueuePairIsWhateverNeedsAControlQueue) {
  EXPECT_EQ(withheld({}, 1), kServedByVmm);
  EXPECT_EQ(withheld({}, 64), 0u) << "a VMM of a guest with several queues has one";
  EXPECT_EQ(kServedByVmm, 0xfe0000u) << "bits 17 to 23";
}

TEST(WithheldFeatures, AreWhatIsNamedAndWhatNeedsIt) {
  const struct {
    std::vector<config::VirtioFeature> without;
    std::uint64_t withheld;
  } kCases[] = {
      {{Packed}, 1ull << 34},
      {{Packed, Packed, EventIdx}, 1ull << 34 | 1ull << 29},
      {{GuestTso4}, 1ull << 7},
      {{GuestTso4, GuestTso6}, 1ull << 7 | 1ull << 8 | 1ull << 9},
      {{GuestCsum}, 1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 9},
      {{Csum}, 1ull << 0 | 1ull << 6 | 1ull << 11 | 1ull << 12 | 1ull << 13},
      {{HostTso6}, 1ull << 12},
      {{CtrlVq}, kServedByVmm},
      {{Version1}, 1ull << 32 | 1ull << 33 | 1ull << 34 | 1ull << 35},
      {{MrgRxbuf, IndirectDesc, Mtu}, 1ull << 15 | 1ull << 28 | 1ull << 3},
  };
  for (const auto& [without, expected] : kCases)
    EXPECT_EQ(withheld(without), expected) << std::hex << expected;
}

TEST(WithheldFeatures, BitsAreVirtios) {
  EXPECT_EQ(feature_bit(GuestCsum), virtio::kGuestChecksums);
  EXPECT_EQ(feature_bit(GuestTso4), virtio::kGuestTso4);
  EXPECT_EQ(feature_bit(GuestTso6), virtio::kGuestTso6);
  EXPECT_EQ(feature_bit(MrgRxbuf), virtio::kMergeableBuffers);
  EXPECT_EQ(feature_bit(EventIdx), virtio::kEventIndex);
  EXPECT_EQ(feature_bit(Version1), virtio::kVersion1);
  EXPECT_EQ(feature_bit(IommuPlatform), virtio::kIommuPlatform);
  EXPECT_EQ(feature_bit(Packed), virtio::kPackedRing);
}

}  // namespace
}  // namespace vmnat::control
