// SPDX-License-Identifier: Apache-2.0
// A translation as a line of JSON, without its newline. vmnatctl's `who` reads it back (ctl/who.cc).
//
//   {"time":"2026-01-01T12:00:00.125Z","event":"created","network":"default","port":"vm1","mac":"52:54:00:00:00:01",
//    "protocol":"tcp","internal":"192.168.122.10:40000","external":"203.0.113.2:40000","remote":"9.9.9.9:443"}
//   {"time":...,"event":"ended",... as before ...,"packets_out":5,"packets_in":4,"bytes_out":500,"bytes_in":400}
//   {"time":...,"event":"block_given","network":"default","port":"vm1","mac":...,"internal":"192.168.122.10",
//    "external":"203.0.113.2","first_port":1024,"last_port":1535}
//   {"time":...,"event":"lost","events":12}
#pragma once

#include <fmt/format.h>

#include "control/translations/translation.h"

namespace vmnat::control {

using Buffer = fmt::memory_buffer;

void append_json(const Translation& translation, Buffer& to);

// "2026-01-01T12:00:00.125Z". A day's seconds are formatted once: lines come in the order of time, nearly.
void append_time(Translation::WallTime time, Buffer& to);

}  // namespace vmnat::control
