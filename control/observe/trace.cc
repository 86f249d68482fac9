// SPDX-License-Identifier: Apache-2.0
#include "control/observe/trace.h"

#include <cstring>
#include <fmt/format.h>

#include "conntrack/session.h"
#include "control/observe/endpoint_text.h"
#include "dataplane/context/filter_rules.h"
#include "dataplane/context/stage_cycles.h"
#include "net/protocol.h"

namespace vmnat::control {
namespace {

using dataplane::PacketKind;
using dataplane::Record;
using dataplane::Sight;
using dataplane::Stage;
using dataplane::StepNote;
using nlohmann::json;
using Errand = dataplane::FrameNote::Errand;

constexpr double kMicroseconds = 1e6;
constexpr double kQuiet = 0.02, kPatience = 3.0;  // seconds

const char* word_of(PacketKind kind) {
  switch (kind) {
    case PacketKind::Unroutable:
      break;
    case PacketKind::Arp:
      return "ARP";
    case PacketKind::Tcp:
      return "TCP";
    case PacketKind::Udp:
      return "UDP";
    case PacketKind::IcmpRequest:
      return "an ICMP query";
    case PacketKind::IcmpReply:
      return "an answer to an ICMP query";
    case PacketKind::Other:
      return "a protocol without ports";
    case PacketKind::IcmpError:
      return "an ICMP error";
    case PacketKind::Fragment:
      return "a fragment, whose ports are not known yet";
    case PacketKind::LaterFragment:
    case PacketKind::LaterEchoFragment:
      return "a fragment of a datagram whose ports are known";
  }
  return "not to be routed";
}

const char* text_of(Errand errand, bool is_same_worker) {
  if (is_same_worker && errand == Errand::RouteInbound)
    return "turned round: it is for an external address of ours";
  switch (errand) {
    case Errand::Transmit:
      return "to be transmitted";
    case Errand::RouteOutbound:
    case Errand::RouteInbound:
      return "to be routed";
    case Errand::ReleasedOutbound:
    case Errand::ReleasedInbound:
      return "the datagram's first fragment has come";
    case Errand::Outbound:
    case Errand::Inbound:
      return "to be looked up";
    case Errand::ToPeer:
      return "for another VM, by rules";
    case Errand::ToHost:
      return "for the host, which is a station of the network";
    case Errand::Unreachable:
      return "nothing leads on";
  }
  return "";
}

json session_of(const StepNote& note) {
  return {{"is_new", note.is_new},
          {"protocol", net::to_string(note.protocol)},
          {"internal", endpoint_text(note.internal, note.protocol)},
          {"external", endpoint_text(note.external, note.protocol)},
          {"remote", endpoint_text(note.remote, note.protocol)}};
}

std::string verdict(Stage stage, const StepNote& note) {
  switch (stage) {
    case Stage::Parse:
      if (note.kind == PacketKind::Unroutable)
        return fmt::format("not to be routed: {}", dataplane::kDropTexts[index_of(note.fault)]);
      return word_of(note.kind);
    case Stage::Switch:
      return "its sender is its port's; for the gateway: goes on";
    case Stage::Fragments:
      return word_of(note.kind);
    case Stage::Steer:
      return "its session is this worker's";
    default:
      return "";
  }
}

std::string verdict_of_left(Stage stage) {
  switch (stage) {
    case Stage::Fragments:
      return "waits for its datagram's first fragment";
    case Stage::Gro:
      return "merged into the frame of the segment before";
    default:
      return "";
  }
}

std::span<const std::byte> bytes_behind(const Record& record, std::size_t skipped) {
  return std::span{static_cast<const std::byte*>(record.bytes()), record.kept}.subspan(skipped);
}

std::string stage_name(std::uint8_t step) {
  return std::string(dataplane::kStageNames[step]);
}

json refusal(const char* step, const std::string& port, const std::string& name, std::string_view text) {
  return {{"step", step}, {"port", port}, {"reason", name}, {"says", fmt::format("{}: {}", name, text)}};
}

const char* word_of(dataplane::RuleAction action) {
  switch (action) {
    case dataplane::RuleAction::Drop:
      return "drops";
    case dataplane::RuleAction::Reject:
      return "rejects";
    case dataplane::RuleAction::Accept:
      break;
  }
  return "accepts";
}

json rule_step(const Record& record, const std::string& port) {
  const std::string rule(static_cast<const char*>(record.bytes()), record.kept);
  return {{"step", "rule"},
          {"port", port},
          {"rule", rule},
          {"says", fmt::format("{} {}", rule, word_of(static_cast<dataplane::RuleAction>(record.step)))}};
}

// `before`: the worker that has told of the frame last.
json errand_step(const Record& record, WorkerIndex before, const std::string& port) {
  const bool is_same = record.worker == before;
  const std::string text = text_of(static_cast<Errand>(record.step), is_same);
  return {{"step", is_same ? "taken_up" : "handed_over"},
          {"port", port},
          {"says", is_same ? text : fmt::format("from worker {}: {}", before, text)}};
}

json passed_step(const Record& record, const std::string& port) {
  StepNote note;
  std::memcpy(&note, record.bytes(), sizeof note);
  const auto stage = static_cast<Stage>(record.step);
  json step{{"step", stage_name(record.step)}, {"port", port}, {"says", verdict(stage, note)}};
  if (!note.has_session || stage != Stage::LookUp) return step;
  step["session"] = session_of(note);
  step["says"] =
      fmt::format("session {}: {} as {} with {}", note.is_new ? "opened" : "found",
                  endpoint_text(note.internal, note.protocol), endpoint_text(note.external, note.protocol),
                  endpoint_text(note.remote, note.protocol));
  return step;
}

}  // namespace

std::string Trace::port_name(PortIndex port) const {
  return port < ports_.size() ? ports_[port].name : "";
}

bool Trace::is_told(const Way& way, std::uint64_t tsc) const {
  const auto since =
      static_cast<double>(static_cast<std::int64_t>(tsc - way.last)) / static_cast<double>(hz_);
  return is_finishing_ || since > (way.has_ended ? kQuiet : kPatience);
}

bool Trace::next(json& item, std::uint64_t tsc) {
  while (const Record* record = records_.next()) take(*record);
  for (auto way = frames_.begin(); way != frames_.end(); ++way) {
    if (!is_told(way->second, tsc)) continue;
    way->second.told["number"] = ++told_;
    item = std::move(way->second.told);
    frames_.erase(way);
    return true;
  }
  return false;
}

// Of a frame that an earlier trace has marked, the beginning is not there.
void Trace::take(const Record& record) {
  const bool is_begin = record.sight == Sight::Received || record.sight == Sight::Injected;
  if (is_begin) {
    Way& way = frames_[record.number];
    way.begin = record.tsc;
    way.worker = record.worker;
    way.told = {{"port", port_name(record.port)},
                {"length", record.length},
                {"frame", frame_text(bytes_behind(record, 0))},
                {"outcome", nullptr},
                {"reason", nullptr},
                {"steps", json::array()}};
  }
  if (const auto way = frames_.find(record.number); way != frames_.end()) tell(way->second, record);
}

void Trace::tell(Way& way, const Record& record) {
  way.last = record.tsc;
  json step = step_of(way, record);
  if (step.is_null() || way.told["steps"].size() >= kMostSteps) return;
  const auto since = static_cast<double>(static_cast<std::int64_t>(record.tsc - way.begin));
  step["us"] = since * kMicroseconds / static_cast<double>(hz_);
  step["worker"] = record.worker;
  way.worker = record.worker;
  if (record.sight != Sight::Left && record.sight != Sight::Rule) {
    const std::string text =
        frame_text(bytes_behind(record, record.sight == Sight::Step ? sizeof(StepNote) : 0));
    if (text != way.last_text) step["frame"] = text;
    way.last_text = text;
  }
  way.told["steps"].push_back(std::move(step));
}

void Trace::end(Way& way, const char* word, json reason) {
  way.has_ended = true;
  way.told["outcome"] = word;
  way.told["reason"] = std::move(reason);
}

// Null: it says nothing that another step does not say.
json Trace::step_of(Way& way, const Record& record) {
  const std::string port = port_name(record.port);
  switch (record.sight) {
    case Sight::Received:
      return {{"step", "received"}, {"port", port}, {"says", "at " + port}};
    case Sight::Injected:
      return {{"step", "injected"}, {"port", port}, {"says", "by control, for " + port}};
    case Sight::Transmitted:
      end(way, "transmitted", nullptr);
      return {{"step", "transmitted"}, {"port", port}, {"says", "by " + port}};
    case Sight::Dropped: {
      const std::string name(dataplane::kDropNames[index_of(record.reason)]);
      end(way, "dropped", name);
      return refusal("dropped", port, name, dataplane::kDropTexts[index_of(record.reason)]);
    }
    case Sight::Punted: {
      const std::string name(dataplane::kPuntNames[record.step]);
      end(way, "punted", name);
      return refusal("punted", port, name, dataplane::kPuntTexts[record.step]);
    }
    case Sight::Errand:
      way.has_ended = false;
      return errand_step(record, way.worker, port);
    case Sight::Step:
      return passed_step(record, port);
    case Sight::Rule:
      return rule_step(record, port);
    case Sight::Left: {
      const std::string says = verdict_of_left(static_cast<Stage>(record.step));
      if (says.empty() || way.has_ended) return nullptr;
      if (static_cast<Stage>(record.step) == Stage::Gro) end(way, "merged", nullptr);
      return {{"step", stage_name(record.step)}, {"says", says}};
    }
    case Sight::Nothing:
      break;
  }
  return nullptr;
}

}  // namespace vmnat::control
