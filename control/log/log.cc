// SPDX-License-Identifier: Apache-2.0
#include "control/log/log.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <rte_log.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "control/log/log_budget.h"

namespace vmnat::control {
namespace {

// The message as a JSON string, quotes included.
class JsonMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string_view text(message.payload.data(), message.payload.size());
    const std::string quoted =
        nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(quoted.data(), quoted.data() + quoted.size());
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessage>();
  }
};

// What DPDK warns of and is part of ordinary life: "port vm1 waits for a VM" says it better.
constexpr std::string_view kHarmless[] = {
    "failed to connect: No such file or directory",  // vhost-user client, before QEMU has made the socket
    "failed to connect: Connection refused",         // the same, with the socket of a QEMU that has ended
    "failed to add vhost user connection with fd",   // refused, as vhost_socket.cc says once a second
    "vhost message handling failed",                 // the line before says which
};

// DPDK's lines, some of which a guest's VMM makes it write: by the socket that they name, "(/run/vm1.sock)".
// From whichever of its threads has something to say.
bool admits_dpdk_line(std::string_view line, LogBudget::Time now) {
  static std::mutex mutex;
  static LogBudget budget;
  const std::lock_guard lock(mutex);
  budget.tell_suppressed(now);
  return budget.admits({"dpdk", socket_in_dpdk_line(line)}, now);
}

ssize_t log_dpdk_line(void*, const char* text, std::size_t size) {
  std::string_view line(text, size);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  const auto level = level_of_dpdk(static_cast<std::uint32_t>(rte_log_cur_msg_loglevel()), line);
  const bool is_bounded = level >= spdlog::level::warn;  // who asks for less serious ones wants them all
  if (!line.empty() && (!is_bounded || admits_dpdk_line(line, std::chrono::steady_clock::now())))
    spdlog::log(level, "dpdk: {}", line);
  return static_cast<ssize_t>(size);
}

}  // namespace

void start_log(spdlog::level::level_enum level, LogFormat format) {
  auto logger = std::make_shared<spdlog::logger>("vmnatd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (format == LogFormat::Json) {
    auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
    formatter->add_flag<JsonMessage>('*').set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%*})");
    logger->set_formatter(std::move(formatter));
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  }
  logger->set_level(level);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

spdlog::level::level_enum level_of_dpdk(std::uint32_t dpdk_level, std::string_view line) {
  const auto is_in_line = [&](std::string_view text) { return line.find(text) != std::string_view::npos; };
  if (std::ranges::any_of(kHarmless, is_in_line)) return spdlog::level::debug;
  if (dpdk_level <= RTE_LOG_ERR) return spdlog::level::err;
  return dpdk_level == RTE_LOG_WARNING ? spdlog::level::warn : spdlog::level::debug;
}

std::string_view socket_in_dpdk_line(std::string_view line) {
  const std::size_t begin = line.find("(/");
  const std::size_t end = begin == std::string_view::npos ? begin : line.find(')', begin);
  return end == std::string_view::npos ? "dpdk" : line.substr(begin + 1, end - begin - 1);
}

void capture_dpdk_log() {
  static std::FILE* stream = nullptr;  // DPDK keeps using it until the process ends
  if (stream == nullptr)
    stream = fopencookie(nullptr, "w",
                         {.read = nullptr, .write = log_dpdk_line, .seek = nullptr, .close = nullptr});
  if (stream == nullptr) return;
  setvbuf(stream, nullptr, _IOLBF, 1024);
  rte_openlog_stream(stream);
}

}  // namespace vmnat::control
