// SPDX-License-Identifier: Apache-2.0
// EditRequest: a command that edits the configuration in effect, such as `vmnatctl port add`, and what it wishes.
//
// The arguments are the texts of the command line. Here is checked what the command is about: does the port
// exist, in which network is the address? What a value has to look like is checked as in the file, once it is in
// the document. Example: {"pool-del", {{"address", "203.0.113.7"}}} wishes that the network which has the address
// has neither it nor its drain.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/changes/overlay.h"
#include "control/result.h"

namespace vmnat::control {

struct EditRequest {
  std::string command;                           // of admin/commands.h: "port-add", "pool-drain", ...
  std::map<std::string, std::string> arguments;  // admin/README.md has them by command
  Lasting lasting = Lasting::UntilRestart;
};

// `document`: the configuration in effect, the overlay with it. Errors say what stands against it.
Result<std::vector<Wish>> wishes_of(const EditRequest& request, const config::Document& document,
                                    const Overlay& overlay);

}  // namespace vmnat::control
