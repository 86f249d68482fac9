// SPDX-License-Identifier: Apache-2.0
// How many frames go through a device, or the pipeline, together.
#pragma once

namespace vmnat::dataplane {

// The steps of a burst wait for memory together, so the more the less each; but its frames, buffers and sessions are to
// stay in a first-level cache of 32 KiB from step to step (docs/performance.md). FrameSet has a bit for each.
inline constexpr unsigned kBurstSize = 64;

}  // namespace vmnat::dataplane
