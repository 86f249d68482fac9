// SPDX-License-Identifier: Apache-2.0
// The door to configuration: a file to a Config, or to everything that is wrong with it.
//
// Three passes over one document: parse.cc reads it into the model by the rows of keys_*.h, defaults.cc fills
// in what depends on other keys, and the checks look at values together (check*.cc). All of them always run;
// a Config comes out only when none of them complained. Example: load_config("/etc/vmnat/vmnat.yaml") answers
// a Config, or problems that print as "/etc/vmnat/vmnat.yaml:7:12: gateway: 10.0.0.1 is not within the
// uplink's network 203.0.113.0/24".
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "control/config/document.h"
#include "control/config/model.h"
#include "control/config/origins.h"

namespace vmnat::config {

struct LoadOptions {
  std::function<std::vector<net::Ipv4Addr>()> resolvers;  // default: host_resolvers()
  std::vector<Problem>* notes = nullptr;  // receives what is legal, but may not be what was meant
  Origins* origins = nullptr;             // receives where each key comes from
};

using Problems = std::vector<Problem>;  // sorted by position
using Loaded = tl::expected<Config, Problems>;

Loaded load_config(const std::string& path, const LoadOptions& options = {});
// `file` is only what problems are printed with.
Loaded load_config_text(std::string_view text, const std::string& file, const LoadOptions& options = {});

// The same in two steps, for who changes the document in between.
tl::expected<Document, Problems> read_document(const std::string& path);
tl::expected<Document, Problems> read_document_text(std::string_view text, const std::string& file);
Loaded load_document(const Document& document, const LoadOptions& options = {});

}  // namespace vmnat::config
