// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/priority_tag.h"

#include "dataplane/device/vlan.h"

namespace vmnat::dataplane {
namespace {

constexpr unsigned kMostTags = 4;  // as many as the guard looks through

}  // namespace

bool remove_priority_tags(rte_mbuf* frame) {
  unsigned removed = 0;
  for (; removed < kMostTags && vlan_of(frame) == kNoVlan; ++removed) remove_tag(frame);
  return removed != 0;
}

}  // namespace vmnat::dataplane
