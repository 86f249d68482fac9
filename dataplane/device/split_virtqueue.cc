// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/split_virtqueue.h"

#include "dataplane/device/virtqueue_driver.h"

namespace vmnat::dataplane {

template class Virtqueue<SplitRing>;

}  // namespace vmnat::dataplane
