// SPDX-License-Identifier: Apache-2.0
// Users and groups of this machine, by their name or in digits; nothing: there is none. A directory service may be
// asked, and waited for.
#pragma once

#include <optional>
#include <string>
#include <sys/types.h>

namespace vmnat::control {

std::optional<uid_t> user_id(const std::string& name);
std::optional<gid_t> group_id(const std::string& name);
std::optional<gid_t> primary_group(const std::string& user);
// Its own group, or one that it is a member of.
bool is_in_group(const std::string& user, gid_t group);
// By number; in digits where there is none.
std::string user_name(uid_t user);

}  // namespace vmnat::control
