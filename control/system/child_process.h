// SPDX-License-Identifier: Apache-2.0
// ChildProcess: another program, run as a child that does not outlive us, whatever way we end.
//
// posix_spawn() instead of fork(), whose copy of a process with huge pages and a dozen threads is slow. What the
// child is, it becomes by setpriv(1): it dies with the thread that has started it (PR_SET_PDEATHSIG), which has to
// come after the change of its user, because that takes it back; and if we are root, it is another user with the one
// capability that a server on a low port needs.
#pragma once

#include <string>
#include <vector>

#include "control/result.h"
#include "control/system/file_descriptor.h"

namespace vmnat::control {

class ChildProcess {
 public:
  // Its standard output and error can be read from output(). The first of `command` is looked for in PATH.
  static Result<ChildProcess> start(const std::vector<std::string>& command, const std::string& user);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();  // kills it

  // Readable once it has ended.
  [[nodiscard]] int descriptor() const { return process_.number(); }
  [[nodiscard]] int output() const { return output_.number(); }
  // After it has ended, once: "exit code 2", "signal 9".
  std::string take_end();

 private:
  ChildProcess(int number, FileDescriptor process, FileDescriptor output)
      : number_(number), process_(std::move(process)), output_(std::move(output)) {}

  int number_;  // 0: it has ended, and was waited for
  FileDescriptor process_, output_;
};

// Whether there is such a program in PATH.
bool has_program(const std::string& name);

}  // namespace vmnat::control
