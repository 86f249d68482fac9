// SPDX-License-Identifier: Apache-2.0
#include "control/commands/observation.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <rte_cycles.h>
#include <spdlog/spdlog.h>

#include "control/observe/capture.h"
#include "control/observe/trace.h"
#include "control/version.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;
using admin::Pull;
using dataplane::Filter;
using dataplane::FilterStep;
using dataplane::Observation;

constexpr std::uint64_t kDefaultSnap = 262'144;  // the whole of any frame
constexpr std::uint64_t kDefaultRing = 4 << 20, kMostRing = 256 << 20;
constexpr std::uint64_t kMostTraced = 10'000;
constexpr std::size_t kPieceBytes = 128 * 1024;  // of an item

// A number that may be left out, of at most so much.
Result<std::uint64_t> number(const Json& arguments, const char* name, std::uint64_t otherwise,
                             std::uint64_t most) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return otherwise;
  if (!found->is_number_unsigned() || *found == 0 || *found > most)
    return tl::unexpected(Error{name, fmt::format("must be a number from 1 to {}", most)});
  return found->get<std::uint64_t>();
}

// [[40,0,0,12],...], of libpcap's bpf_insn: code, jt, jf, k.
std::optional<FilterStep> step_in(const Json& json) {
  constexpr std::uint64_t kMost[] = {UINT16_MAX, UINT8_MAX, UINT8_MAX, UINT32_MAX};
  if (!json.is_array() || json.size() != std::size(kMost)) return std::nullopt;
  for (std::size_t i = 0; i < json.size(); ++i)
    if (!json[i].is_number_unsigned() || json[i] > kMost[i]) return std::nullopt;
  return FilterStep{.code = json[0], .if_true = json[1], .if_false = json[2], .value = json[3]};
}

Result<Filter> filter_in(const Json& arguments) {
  const auto program = arguments.find("program");
  if (program == arguments.end()) return Filter{};
  std::vector<FilterStep> steps;
  if (program->is_array() && program->size() <= Filter::kMostSteps)
    for (const Json& json : *program)
      if (const auto step = step_in(json)) steps.push_back(*step);
  if (!program->is_array() || steps.size() != program->size())
    return tl::unexpected(Error{"program", "must be a list of [code, jt, jf, k], as libpcap makes them"});
  if (const auto problem = Filter::problem_of(steps); !problem.empty())
    return tl::unexpected(
        Error{"program", fmt::format("this filter cannot be run here: it has {}", problem)});
  return Filter(std::move(steps));
}

Result<PortIndex> port_named(const std::vector<PortPlan>& ports, const Json& name) {
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (ports[i].exists && name.is_string() && name == ports[i].name) return static_cast<PortIndex>(i);
  return tl::unexpected(Error{"port", fmt::format("there is no port {}", name.dump())});
}

Result<Observation> observation_in(const std::vector<PortPlan>& ports, const Json& arguments) {
  Observation wanted;
  if (arguments.contains("port")) {
    const auto port = port_named(ports, arguments["port"]);
    if (!port) return tl::unexpected(port.error());
    wanted.scope = Observation::Scope::Port;
    wanted.port = *port;
  } else if (arguments.contains("drops") && arguments["drops"] == true) {
    wanted.scope = Observation::Scope::Drops;
  }
  auto filter = filter_in(arguments);
  if (!filter) return tl::unexpected(filter.error());
  wanted.filter = *std::move(filter);
  return wanted;
}

std::string text(const Json& arguments, const char* name) {
  const auto found = arguments.find(name);
  return found != arguments.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

// For the log, which says who is looked at.
std::string subject_of(const Json& arguments) {
  const std::string frames = arguments.contains("drops")  ? "dropped frames"
                             : arguments.contains("port") ? "port " + text(arguments, "port")
                                                          : "all ports";
  const std::string expression = text(arguments, "expression");
  return expression.empty() ? frames : fmt::format("{}, '{}'", frames, expression);
}

// Pieces of the file; behind them its end; behind that what is in it.
class CaptureStream {
 public:
  explicit CaptureStream(Capture capture) : capture_(std::move(capture)) {}
  CaptureStream(const CaptureStream&) = delete;
  CaptureStream& operator=(const CaptureStream&) = delete;
  ~CaptureStream() {
    spdlog::info("a capture ends: {} frames, {} missed", capture_.captured(), capture_.missed());
  }

  Pull next(Json& item) {
    if (stage_ == Stage::Ended) return Pull::End;
    if (stage_ == Stage::Told) {
      stage_ = Stage::Ended;
      item = {{"captured", capture_.captured()}, {"missed", capture_.missed()}};
      return Pull::Item;
    }
    pcapng::Bytes bytes;
    if (!capture_.read(bytes, kPieceBytes)) {
      capture_.finish(bytes);
      stage_ = Stage::Told;
    }
    if (bytes.empty()) return Pull::Later;
    item = Json::binary(std::move(bytes));
    return Pull::Item;
  }
  void finish() { capture_.end(); }

 private:
  enum class Stage : std::uint8_t { Frames, Told, Ended };
  Capture capture_;
  Stage stage_ = Stage::Frames;
};

// The ways of frames; behind them how many.
class TraceStream {
 public:
  explicit TraceStream(Trace trace) : trace_(std::move(trace)) {}
  TraceStream(const TraceStream&) = delete;
  TraceStream& operator=(const TraceStream&) = delete;
  ~TraceStream() { spdlog::info("a trace ends: {} frames", trace_.told()); }

  Pull next(Json& item) {
    if (has_ended_) return Pull::End;
    if (trace_.next(item, rte_rdtsc())) return Pull::Item;
    if (!trace_.has_ended()) return Pull::Later;
    has_ended_ = true;
    item = {{"traced", trace_.told()}, {"missed", trace_.missed()}};
    return Pull::Item;
  }
  void finish() { trace_.finish(); }

 private:
  Trace trace_;
  bool has_ended_ = false;
};

}  // namespace

Result<Answer> trace(Observers& observers, const std::vector<PortPlan>& ports, const Json& arguments) {
  auto wanted = observation_in(ports, arguments);
  if (!wanted) return tl::unexpected(wanted.error());
  const auto count = number(arguments, "count", 1, kMostTraced);
  if (!count) return tl::unexpected(count.error());
  wanted->snap = Trace::kKept;
  wanted->to_trace = std::make_unique<std::atomic<std::uint32_t>>(static_cast<std::uint32_t>(*count));
  auto observer = observers.add(*std::move(wanted), kDefaultRing);
  if (!observer) return tl::unexpected(observer.error());
  spdlog::info("a trace begins: {}", subject_of(arguments));
  const auto stream =
      std::make_shared<TraceStream>(Trace(*std::move(observer), ports, *count, rte_get_tsc_hz()));
  return Answer::stream([stream](Json& item) { return stream->next(item); }, [stream] { stream->finish(); });
}

Result<Answer> capture(Observers& observers, const std::vector<PortPlan>& ports, const Json& arguments) {
  auto wanted = observation_in(ports, arguments);
  if (!wanted) return tl::unexpected(wanted.error());
  const auto snap = number(arguments, "snap", kDefaultSnap, kDefaultSnap);
  const auto count = number(arguments, "count", 0, UINT64_MAX);
  const auto ring = number(arguments, "buffer", kDefaultRing, kMostRing);
  for (const auto* read : {&snap, &count, &ring})
    if (!*read) return tl::unexpected(read->error());
  wanted->snap = static_cast<std::uint32_t>(*snap);
  auto observer = observers.add(*std::move(wanted), *ring);
  if (!observer) return tl::unexpected(observer.error());
  spdlog::info("a capture begins: {}", subject_of(arguments));
  const auto stream = std::make_shared<CaptureStream>(Capture(*std::move(observer), ports,
                                                              {.program = fmt::format("vmnatd {}", kVersion),
                                                               .expression = text(arguments, "expression"),
                                                               .count = *count,
                                                               .tsc_hz = rte_get_tsc_hz()}));
  return Answer::stream([stream](Json& item) { return stream->next(item); }, [stream] { stream->finish(); });
}

}  // namespace vmnat::control
