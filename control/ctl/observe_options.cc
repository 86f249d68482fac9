// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/observe_options.h"

#include "control/config/values.h"
#include "control/ctl/change_options.h"
#include "control/ctl/packet_filter.h"

namespace vmnat::ctl {
namespace {

std::string checked_size(const std::string& text) {
  const auto size = config::byte_size(text);
  return size ? "" : size.error();
}

}  // namespace

void ObserveOptions::add_to(CLI::App& app) {
  add_capture(app);
  add_trace(app);
}

void ObserveOptions::add_trace(CLI::App& app) {
  CLI::App* trace = add_command(app, "trace");
  trace->add_option("--port", port_, "frames that come by this port, or that control injects for it");
  trace->add_option("--count", count_, "so many frames; default: 1")->check(CLI::PositiveNumber);
  trace->add_option("FILTER", words_, "of these only: an expression of tcpdump's (pcap-filter(7))");
}

void ObserveOptions::add_capture(CLI::App& app) {
  CLI::App* capture = add_command(app, "capture");
  capture->add_option("--port", port_,
                      "the frames that come by this port, leave by it, and are dropped between");
  capture->add_flag("--all", all_, "those of every port");
  capture->add_flag("--drops", drops_, "frames that are dropped, alone");
  capture->add_option("--write", write_, "the file (pcapng); -: standard output")->required();
  capture->add_option("--filter", expression_, "of these only: an expression of tcpdump's (pcap-filter(7))");
  capture->add_option("--count", count_, "end after so many frames")->check(CLI::PositiveNumber);
  capture->add_option("--snap", snap_, "bytes that are kept of a frame; default: all")
      ->check(CLI::PositiveNumber);
  capture
      ->add_option("--buffer", buffer_,
                   "memory for frames that are on their way, of each worker; default: 4M")
      ->check(checked_size);
}

std::string ObserveOptions::take(const CLI::App& chosen, CommandLine& line) const {
  if (chosen.get_name() != "capture" && chosen.get_name() != "trace") return "";
  if (chosen.get_name() == "capture" && (port_.empty() ? 0 : 1) + (all_ ? 1 : 0) + (drops_ ? 1 : 0) != 1)
    return "capture: give one of --port, --all and --drops";
  line.write = write_;
  if (!port_.empty()) line.arguments["port"] = port_;
  if (drops_) line.arguments["drops"] = true;
  if (count_ != 0) line.arguments["count"] = count_;
  if (snap_ != 0) line.arguments["snap"] = snap_;
  if (!buffer_.empty()) line.arguments["buffer"] = config::byte_size(buffer_)->bytes;
  return take_filter(line);
}

std::string ObserveOptions::take_filter(CommandLine& line) const {
  std::string expression = expression_;
  for (const std::string& word : words_) expression += (expression.empty() ? "" : " ") + word;
  if (expression.empty()) return "";
  auto program = packet_filter(expression);
  if (!program) return "vmnatctl: " + program.error();
  line.arguments["program"] = *std::move(program);
  line.arguments["expression"] = std::move(expression);
  return "";
}

}  // namespace vmnat::ctl
