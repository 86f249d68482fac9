// SPDX-License-Identifier: Apache-2.0
// vmnat-bench's command line as values. `--help` says what each option means.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/generator/flows.h"
#include "bench/generator/frame_mix.h"
#include "net/address.h"

namespace vmnat::bench {

// Nat: flows are learned and verified first. Forward: the device under test passes frames on unchanged
// (testpmd). Reflect: it sends them back by the port by which they came.
enum class Mode : std::uint8_t { Nat, Forward, Reflect };
enum class FlowOrder : std::uint8_t { Random, Cyclic };
enum class Traffic : std::uint8_t { Outbound, Inbound, Both };

// What is opened a second: UDP flows (one frame each), or TCP connections, which are closed again.
enum class ConnectionKind : std::uint8_t { UdpOpen, TcpOpenClose };

const char* text_of(Mode mode);
const char* text_of(ConnectionKind kind);
const char* text_of(FlowOrder order);
const char* text_of(Traffic traffic);

// DPDK's own limit as it is usually built (RTE_MAX_ETHPORTS): VM ports, the uplink, and a flooder if there is one.
inline constexpr unsigned kMostPorts = 32;
inline constexpr unsigned kLargestBurst = 32;
// Stands in --vm for the number of a port.
inline constexpr char kPortNumber = '%';

// Whether a port is given by the path of a vhost-user socket.
inline bool is_socket(const std::string& port) {
  return port.find('/') != std::string::npos && port.find(',') == std::string::npos;
}

// How a vhost-user socket is attached to. Ignored for a port given as PCI address or devargs.
struct VirtioOptions {
  unsigned queue_size = 1024;
  bool packed = false;
  bool mergeable = true;
  bool server = false;  // create the sockets, the device under test connects
};

// At which load latency is measured: a share of the highest rate, or Mpps (all directions added).
struct LatencyLoad {
  double value = 0.5;
  bool is_share = true;
};
// "50%", "2.5"; nothing when it is neither.
std::optional<LatencyLoad> parse_latency_load(const std::string& text);
std::string text_of(const LatencyLoad& load);

struct EalOptions {
  unsigned cpu = 0;
  unsigned memory_mb = 256;
  bool hugepages = true;
  std::vector<std::string> extra;
};

struct Options {
  std::string
      vm_port;  // path of a vhost-user socket | PCI address | DPDK devargs; of several ports a pattern
  std::string uplink_port;
  std::string flooder_port;  // a second VM's; empty: nobody floods
  VirtioOptions virtio;
  std::optional<unsigned>
      burst;  // frames under way in each VM port's ring at most; none: as many as it holds
  EalOptions eal;

  Mode mode = Mode::Nat;
  FlowSpace flow_space;
  net::Ipv4Addr router;                         // the next hop that the generator plays on the uplink
  net::Ipv4Addr uplink_address;                 // of the device under test
  net::Ipv4Addr external_first, external_last;  // what translated frames may carry as source

  std::vector<FlowNumber> flows;  // ascending
  std::vector<FrameMix> frames;
  std::vector<Traffic> traffic;
  FlowOrder order = FlowOrder::Random;
  unsigned repeat = 5;
  double duration_s = 1.0;
  double rate_mpps = 0;  // per direction; 0: as fast as the device under test takes them
  bool search = false;   // for NDR and PDR
  std::vector<LatencyLoad> latency;
  std::vector<ConnectionKind> connections;
  FlowNumber connection_flows = 100'000;  // new flows in each trial
  bool connection_search = false;
  bool steady_load = true;

  std::string flood;              // of flood_frames.h; the load is then the victim's
  net::Ipv4Addr flooder, silent;  // addresses: the flooder's own, one on the uplink's subnet that nobody has

  std::string device_name;             // of the device under test, for the report
  int device_clock = -1;               // descriptor, see device_clock.h; negative: nobody tells
  std::optional<unsigned> device_cpu;  // of its worker, see line_trip.h; none: the distance is not measured
  std::string json_path;
  bool quiet = false;
  std::string label;  // before the progress line

  [[nodiscard]] unsigned vm_ports() const { return flow_space.vm_ports; }
  // The VM port of this number, from 0 on.
  [[nodiscard]] std::string vm_port_at(unsigned number) const {
    std::string port = vm_port;
    if (vm_ports() > 1) port.replace(port.find(kPortNumber), 1, std::to_string(number));
    return port;
  }
};

// Exits the process on --help and on a wrong command line, as CLI11 does: the code is in `exit_code`.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_code = 0;
};
ParsedOptions parse_options(int argc, char** argv);

}  // namespace vmnat::bench
