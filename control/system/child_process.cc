// SPDX-License-Identifier: Apache-2.0
#include "control/system/child_process.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <linux/capability.h>
#include <spawn.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "control/system/accounts.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it to its user

namespace vmnat::control {
namespace {

// The right to a port below 1024, where we have it to give, and no other.
std::string capabilities() {
  const bool is_ours =
      geteuid() == 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) == 1;
  return is_ours ? "-all,+net_bind_service" : "-all";
}

// Another user, where we are root.
std::vector<std::string> privileges(const std::string& user) {
  std::vector<std::string> words{"setpriv", "--pdeathsig=KILL", "--no-new-privs",
                                 "--inh-caps=" + capabilities(), "--ambient-caps=" + capabilities()};
  if (geteuid() != 0) return words;
  words.push_back("--bounding-set=" + capabilities());
  const std::string known = user_id(user) ? user : "nobody";
  const auto id = user_id(known);
  const auto group = primary_group(known);
  if (!id || !group) return words;
  for (const std::string& word :
       {fmt::format("--reuid={}", *id), fmt::format("--regid={}", *group), std::string{"--clear-groups"}})
    words.push_back(word);
  return words;
}

// What posix_spawn() is told: the ends of the pipe, no other descriptor of ours, and no signal that we ignore.
class SpawnSettings {
 public:
  explicit SpawnSettings(int output) {
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

tl::unexpected<Error> failure(const std::string& program, int error) {
  return tl::unexpected(Error{program, "cannot be started: " + std::system_category().message(error)});
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& command, const std::string& user) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return failure(command.front(), errno);
  FileDescriptor output(ends[0]);
  const FileDescriptor input(ends[1]);
  std::vector<std::string> words = privileges(user);
  words.insert(words.end(), command.begin(), command.end());
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const SpawnSettings settings(input.number());
  pid_t number = 0;
  if (const int error = posix_spawnp(&number, arguments[0], &settings.actions, &settings.attributes,
                                     arguments.data(), environ);
      error != 0)
    return failure(command.front(), error);
  FileDescriptor process(static_cast<int>(syscall(SYS_pidfd_open, number, 0)));
  const int error = errno;
  ChildProcess child(number, std::move(process), std::move(output));
  if (!child.process_.is_open()) return failure(command.front(), error);  // Linux before 5.3
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : number_(std::exchange(other.number_, 0)),
      process_(std::move(other.process_)),
      output_(std::move(other.output_)) {}

ChildProcess::~ChildProcess() {
  if (number_ == 0) return;
  kill(number_, SIGKILL);
  take_end();
}

std::string ChildProcess::take_end() {
  int status = 0;
  while (waitpid(number_, &status, 0) < 0 && errno == EINTR) {
  }
  number_ = 0;
  return WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                             : fmt::format("exit code {}", WEXITSTATUS(status));
}

bool has_program(const std::string& name) {
  const char* const path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody changes it
  std::istringstream directories(path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');)
    if (access((std::filesystem::path(directory) / name).c_str(), X_OK) == 0) return true;
  return false;
}

}  // namespace vmnat::control
