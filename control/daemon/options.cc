// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/options.h"

#include <CLI/CLI.hpp>
#include <map>

#include "control/version.h"

namespace vmnat::control {

ParsedOptions parse_options(int argc, char** argv) {
  Options options;
  CLI::App app{
      "vmnatd: userspace NAT gateway for virtual machines.\n"
      "Runs in the foreground and logs to stderr. SIGTERM and SIGINT stop it, SIGHUP reads FILE again."};
  app.set_version_flag("--version", std::string("vmnatd ") + kVersion);
  app.add_option("--config", options.config_path,
                 "Configuration (YAML); configs/reference.yaml shows every key")
      ->required()
      ->type_name("FILE");
  app.add_flag("--check", options.check_only,
               "Check the configuration and exit: 0 good, 1 with every problem listed");
  const std::map<std::string, spdlog::level::level_enum> levels{{"trace", spdlog::level::trace},
                                                                {"debug", spdlog::level::debug},
                                                                {"info", spdlog::level::info},
                                                                {"warn", spdlog::level::warn},
                                                                {"error", spdlog::level::err}};
  app.add_option("--log-level", options.log_level, "trace, debug, info (default), warn or error")
      ->transform(CLI::Transformer(levels).description(""))
      ->type_name("LEVEL");
  const std::map<std::string, LogFormat> formats{{"text", LogFormat::Text}, {"json", LogFormat::Json}};
  app.add_option("--log-format", options.log_format, "text (default) or json")
      ->transform(CLI::Transformer(formats).description(""))
      ->type_name("FORMAT");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {.exit_code = app.exit(error) == 0 ? kStopped : kBadConfiguration};
  }
  return {.options = options};
}

}  // namespace vmnat::control
