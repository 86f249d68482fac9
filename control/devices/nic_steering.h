// SPDX-License-Identifier: Apache-2.0
// NIC steering: makes a started device bring replies to their worker's queue, by the first way that it takes:
// RSS on the destination port, flow rules on it, or not at all (rings in software do it then, as they do for
// what the NIC gets wrong: where a frame arrives is a matter of speed alone).
//
// RSS counts only if the device says afterwards that it has the key, the table and the kinds of frames that
// it was given; flow rules, if it takes every one of them. What a way that failed has changed is put back.
#pragma once

#include <cstdint>
#include <string>

#include "control/plan/steering_plan.h"

namespace vmnat::control {

enum class SteeringWay : std::uint8_t { Rss, FlowRules, Fanout, Rings };
// "rss", "flow_rules", "fanout" (of packet sockets, by the kernel), "rings"
const char* to_word(SteeringWay way);

struct NicSteering {
  SteeringWay way = SteeringWay::Rings;
  BlockQueues queues;   // empty when rings do it
  std::string details;  // for the log: with what, or why not
};

// `table_capacity`: entries of the RSS table that the device spoke of before it was configured. Some have
// fewer with fewer queues until they are given more.
NicSteering steer_replies(std::uint16_t port_id, unsigned queue_count, unsigned table_capacity);

}  // namespace vmnat::control
