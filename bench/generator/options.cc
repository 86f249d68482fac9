// SPDX-License-Identifier: Apache-2.0
// The command line, by CLI11. Addresses are read as text and turned into types here, once.
#include "bench/generator/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <stdexcept>

#include "bench/generator/flood_frames.h"

namespace vmnat::bench {
namespace {

// What is text on the command line and a type in Options.
struct AddressTexts {
  std::string network = "192.168.122.1/24";
  std::string router = "198.18.0.1";
  std::string uplink = "198.18.0.2";
  std::string external;
  std::string remotes = "198.19.0.0/16";
  std::string flooder = "192.168.122.254";
  std::string silent = "198.18.0.77";
};
struct TrafficTexts {
  std::vector<std::string> frames = {"64"};
  std::vector<std::string> latency;
};

net::Ipv4Addr address_of(const std::string& text) {
  const auto address = net::parse_ipv4(text);
  if (!address) throw CLI::ValidationError("'" + text + "' is not an IPv4 address");
  return *address;
}

net::Ipv4Prefix prefix_of(const std::string& text) {
  const auto prefix = net::parse_ipv4_prefix(text);
  if (!prefix) throw CLI::ValidationError("'" + text + "' is not ADDRESS/LENGTH");
  return *prefix;
}

void read_addresses(const AddressTexts& texts, Options& options) {
  options.flow_space.network = prefix_of(texts.network);
  options.flow_space.remotes = prefix_of(texts.remotes);
  options.router = address_of(texts.router);
  options.uplink_address = address_of(texts.uplink);
  options.flooder = address_of(texts.flooder);
  options.silent = address_of(texts.silent);
  const std::string external = texts.external.empty() ? texts.uplink : texts.external;
  const auto dash = external.find('-');
  options.external_first = address_of(external.substr(0, dash));
  options.external_last =
      dash == std::string::npos ? options.external_first : address_of(external.substr(dash + 1));
}

void read_traffic(const TrafficTexts& texts, Options& options) {
  for (const std::string& text : texts.frames) {
    const auto mix = FrameMix::parse(text);
    if (!mix) throw CLI::ValidationError("--frame: '" + text + "' is neither imix nor in 64..1518");
    options.frames.push_back(*mix);
  }
  for (const std::string& text : texts.latency) {
    const auto load = parse_latency_load(text);
    if (!load) throw CLI::ValidationError("--latency: '" + text + "' is neither a share (50%) nor Mpps");
    options.latency.push_back(*load);
  }
}

// Names to enumerators; CLI11's own transformer would show the values of small enumerations as letters.
template <typename Choice>
CLI::Validator choice(std::vector<std::pair<std::string, Choice>> choices) {
  return {[choices](std::string& text) {
            std::string names;
            for (const auto& [name, value] : choices) {
              if (text == name) return text = std::to_string(static_cast<unsigned>(value)), std::string();
              names += (names.empty() ? "" : ", ") + name;
            }
            return "'" + text + "' is none of " + names;
          },
          ""};
}

void add_device_options(CLI::App& app, Options& options) {
  app.add_option("--vm", options.vm_port,
                 "port that plays the VM: vhost-user socket, PCI address or DPDK devargs")
      ->required();
  app.add_option("--ports", options.flow_space.vm_ports,
                 "VM ports, which the hosts live at in turn: the number 0, 1, ... stands for the % in --vm")
      ->capture_default_str()
      ->check(CLI::Range(1u, kMostPorts - 1));
  app.add_option("--uplink", options.uplink_port, "port that plays the router on the uplink, likewise")
      ->required();
  app.add_option("--cpu", options.eal.cpu, "CPU that generates and receives")->capture_default_str();
  app.add_option("--memory", options.eal.memory_mb, "MiB for packet buffers")->capture_default_str();
  app.add_flag("!--no-huge", options.eal.hugepages, "do without hugepages");
  app.add_option("--eal", options.eal.extra, "further EAL argument, verbatim (repeatable)")->expected(1);
  app.add_option("--queue-size", options.virtio.queue_size, "virtio ring entries")->capture_default_str();
  app.add_flag("--packed", options.virtio.packed, "packed virtio rings (default: split)");
  app.add_flag("!--no-mergeable", options.virtio.mergeable, "no mergeable receive buffers");
  app.add_option("--burst", options.burst,
                 "frames under way in each VM port's ring at most [as many as it holds]")
      ->check(CLI::Range(1u, kLargestBurst));
  app.add_flag("--server", options.virtio.server, "create the sockets; the device under test connects");
  app.add_option("--device-name", options.device_name, "of the device under test, for the report");
  app.add_option(
      "--device-clock", options.device_clock,
      "descriptor of a socket that tells the device's frames and ticks when asked (device_clock.h)");
  app.add_option("--device-cpu", options.device_cpu,
                 "CPU of the device's worker: how long a cache line takes there and back is measured");
}

void add_traffic_options(CLI::App& app, Options& options, TrafficTexts& texts) {
  app.add_option(
         "--mode", options.mode,
         "nat: learn and verify translations; forward: frames pass unchanged; reflect: they come back "
         "unchanged by the port that they were sent by")
      ->transform(choice<Mode>({{"nat", Mode::Nat}, {"forward", Mode::Forward}, {"reflect", Mode::Reflect}}));
  app.add_option("--flows", options.flows, "numbers of flows, ascending, e.g. 1,10000,100000")
      ->delimiter(',')
      ->required();
  app.add_option("--frame", texts.frames,
                 "frame sizes with FCS, 64..1518, or imix (64, 594 and 1518 bytes, 7:4:1) [64]")
      ->delimiter(',');
  app.add_option("--traffic", options.traffic, "outbound, inbound, both [outbound,both]")
      ->delimiter(',')
      ->transform(choice<Traffic>(
          {{"outbound", Traffic::Outbound}, {"inbound", Traffic::Inbound}, {"both", Traffic::Both}}));
  app.add_option("--order", options.order, "order of flows under load: random (a fixed shuffle) or cyclic")
      ->transform(choice<FlowOrder>({{"random", FlowOrder::Random}, {"cyclic", FlowOrder::Cyclic}}));
  app.add_option("--repeat", options.repeat, "runs per point")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--duration", options.duration_s, "seconds per run")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 3600.0));
  app.add_option("--rate", options.rate_mpps, "Mpps offered per direction (0: as many as are taken)")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

void add_measurement_options(CLI::App& app, Options& options, TrafficTexts& texts) {
  app.add_flag("--search", options.search,
               "search the highest rates with no loss (NDR) and 0.5 % loss (PDR) at most");
  app.add_option("--latency", texts.latency,
                 "measure latency at these loads: shares of the highest rate (PDR with --search), "
                 "or Mpps, e.g. 10%,50%,2.5")
      ->delimiter(',');
  app.add_option(
         "--connections", options.connections,
         "connection rates: udp (flows opened a second), tcp (connections opened and closed a second)")
      ->delimiter(',')
      ->transform(
          choice<ConnectionKind>({{"udp", ConnectionKind::UdpOpen}, {"tcp", ConnectionKind::TcpOpenClose}}));
  app.add_option("--connection-flows", options.connection_flows,
                 "new flows in each trial of a connection rate")
      ->capture_default_str()
      ->check(CLI::Range(1u, 100'000'000u));
  app.add_flag("--connection-search", options.connection_search, "search NDR and PDR of connection rates");
  app.add_flag("!--no-steady-load", options.steady_load, "connection rates alone, on a table that is empty");
  app.add_option("--json", options.json_path, "write the result to this file as JSON");
  app.add_flag("--quiet", options.quiet, "no lines on stderr but the progress line of a terminal");
  app.add_option("--label", options.label, "stands before the progress line");
}

void add_flood_options(CLI::App& app, Options& options, AddressTexts& texts) {
  std::string names;
  for (const Flood& flood : all_floods()) names += fmt::format("\n{:15}{}", flood.name, flood.says);
  CLI::Option* port = app.add_option("--flooder", options.flooder_port,
                                     "port of a second VM, which floods while the first one has --rate");
  app.add_option("--flood", options.flood, "what it sends:" + names)
      ->needs(port)
      ->check([](const std::string& name) {
        return find_flood(name) != nullptr ? std::string() : "'" + name + "' is no flood";
      });
  app.add_option("--flooder-address", texts.flooder, "address of that VM")->capture_default_str();
  app.add_option("--silent-address", texts.silent, "an address of the uplink's subnet that nobody has")
      ->capture_default_str();
}

void add_address_options(CLI::App& app, Options& options, AddressTexts& texts) {
  app.add_option("--network", texts.network, "the VM network: gateway address and length")
      ->capture_default_str();
  app.add_option("--hosts", options.flow_space.hosts, "internal addresses in use")->capture_default_str();
  app.add_option("--endpoints", options.flow_space.endpoints,
                 "distinct internal endpoints; further flows reuse them")
      ->capture_default_str();
  app.add_option("--router", texts.router, "next hop of the uplink, played by the generator")
      ->capture_default_str();
  app.add_option("--uplink-address", texts.uplink, "the device's address on the uplink")
      ->capture_default_str();
  app.add_option("--external", texts.external, "external address or range A-B [the uplink address]");
  app.add_option("--remotes", texts.remotes, "prefix of the remote addresses")->capture_default_str();
  app.add_option("--seed", options.flow_space.seed, "seed of tuples and order")->capture_default_str();
}

void check_ports(const Options& options) {
  const bool is_pattern =
      is_socket(options.vm_port) && options.vm_port.find(kPortNumber) != std::string::npos;
  if (options.burst && !is_socket(options.vm_port))
    throw CLI::ValidationError("--burst: --vm has to be the path of a socket");
  if (options.vm_ports() == 1) return;
  if (!is_pattern)
    throw CLI::ValidationError(
        "--ports: --vm has to be the path of a socket with a % in it, for the port's number");
  if (options.mode == Mode::Forward)
    throw CLI::ValidationError(
        "--mode forward: what comes by several ports cannot be passed on unchanged; use --mode reflect");
  if (!options.flooder_port.empty() && options.vm_ports() > kMostPorts - 2)
    throw CLI::ValidationError(
        fmt::format("--ports: {} at most beside an uplink and a flooder", kMostPorts - 2));
}

void check_connections(const Options& options) {
  if (options.mode == Mode::Reflect && !options.connections.empty())
    throw CLI::ValidationError("--connections: --mode reflect leaves them without another end");
}

void fill_defaults(Options& options) {
  if (options.traffic.empty()) options.traffic = {Traffic::Outbound, Traffic::Both};
  std::sort(options.flows.begin(), options.flows.end());
  if (!options.flood.empty() && options.rate_mpps == 0)
    throw CLI::ValidationError("--flood: the victim needs a --rate");
  if (options.flows.front() == 0) throw CLI::ValidationError("--flows: a run needs at least one flow");
}

}  // namespace

const char* text_of(Mode mode) {
  if (mode == Mode::Nat) return "nat";
  return mode == Mode::Forward ? "forward" : "reflect";
}
const char* text_of(FlowOrder order) {
  return order == FlowOrder::Random ? "random" : "cyclic";
}
const char* text_of(Traffic traffic) {
  if (traffic == Traffic::Outbound) return "outbound";
  return traffic == Traffic::Inbound ? "inbound" : "both";
}

std::optional<LatencyLoad> parse_latency_load(const std::string& text) {
  const bool is_share = text.ends_with('%');
  const std::string number = text.substr(0, text.size() - (is_share ? 1 : 0));
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !(value > 0) || value > (is_share ? 100 : 1000)) return std::nullopt;
  return LatencyLoad{is_share ? value / 100 : value, is_share};
}

std::string text_of(const LatencyLoad& load) {
  return load.is_share ? fmt::format("{:g}%", load.value * 100) : fmt::format("{:g} Mpps", load.value);
}

const char* text_of(ConnectionKind kind) {
  return kind == ConnectionKind::UdpOpen ? "udp" : "tcp";
}

ParsedOptions parse_options(int argc, char** argv) {
  Options options;
  TrafficTexts traffic;
  AddressTexts texts;
  CLI::App app{
      "vmnat-bench: traffic between a VM port and an uplink port of a NAT gateway, verified and measured"};
  add_device_options(app, options);
  add_traffic_options(app, options, traffic);
  add_measurement_options(app, options, traffic);
  add_flood_options(app, options, texts);
  add_address_options(app, options, texts);
  try {
    app.parse(argc, argv);
    read_addresses(texts, options);
    read_traffic(traffic, options);
    fill_defaults(options);
    check_ports(options);
    check_connections(options);
  } catch (const CLI::ParseError& error) {
    return {std::nullopt, app.exit(error)};
  }
  return {options, 0};
}

}  // namespace vmnat::bench
