// SPDX-License-Identifier: Apache-2.0
// The keys of limits, of a port, a network and the uplink: see keys.h.
#pragma once

#include "control/config/forms.h"
#include "control/config/keys.h"

namespace vmnat::config {

inline constexpr auto kFramesPerSecond = within<std::uint32_t>(1, 0xffffffff);

template <>
inline constexpr auto kKeys<RateLimit> = std::tuple{
    key("rate", &RateLimit::rate, if_given(kBitRate),
        "Bits a second, such as 100M, of whole Ethernet frames without their check sequence."),
    key("burst", &RateLimit::burst, if_given(kByteSize),
        "Bytes that go at once after a pause; by default what the rate brings in 10 ms, 16K at least."),
    key("peak", &RateLimit::peak, if_given(kBitRate),
        "Bits a second at which a burst goes; by default at once."),
    key("packets", &RateLimit::packets, if_given(kFramesPerSecond), "Frames a second."),
};

inline constexpr LineOr kDirection{"default"};

template <>
inline constexpr auto kKeys<RateLimits> = std::tuple{
    key("in", &RateLimits::in, kDirection,
        "Towards VMs. {}: not limited. default: as the network says, or not limited.",
        {.default_varies = true}),
    key("out", &RateLimits::out, kDirection, "From VMs, likewise.", {.default_varies = true}),
    key("packets", &RateLimits::packets, if_given(kFramesPerSecond),
        "Frames a second each way, unless a direction says its own."),
};

}  // namespace vmnat::config
