// SPDX-License-Identifier: Apache-2.0
// Configuration: what is in effect, and what it was made of: the file as it was read, and the overlay.
//
// Reload and every command that edits something take one way: a Proposal is made of a file and an overlay, with
// the defaults and the checks of any configuration; the daemon changes to its `wanted`; only then take_over()
// makes the proposal what is in effect. Example, `vmnatctl port add vm9 ... --persistent`:
//
//   propose()    file as it was read + overlay with vm9 -> Config, or what is wrong with it; nothing has changed
//   keep()       overlay.yaml.new is on the disk
//   (the daemon changes to it, or refuses: overlay.yaml.new goes)
//   take_over()  overlay.yaml.new takes the place of overlay.yaml
//
// When vmnatd starts, the file alone decides whether it does. Persistent edits that no longer fit the file are
// left out: notes() tells each, and a copy of the overlay as it was stays beside it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/changes/edit_request.h"
#include "control/changes/overlay.h"
#include "control/changes/overlay_file.h"
#include "control/config/load.h"

namespace vmnat::control {

struct Proposal {
  config::Document file;
  Overlay overlay;
  config::Document document;  // both
  config::Config wanted;
  config::Origins origins;
};

class Configuration {
 public:
  // Reads the file, and on top of it the overlay in its control.state_dir. `notes`: of the file.
  static tl::expected<std::unique_ptr<Configuration>, config::Problems> load(
      const std::string& path, config::Problems* notes = nullptr);

  // It stays at one place. Who changes it: the daemon, before take_over(), and what follows the host's resolvers.
  [[nodiscard]] config::Config& in_effect() { return in_effect_; }
  [[nodiscard]] const config::Config& in_effect() const { return in_effect_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const config::Origins& origins() const { return origins_; }
  [[nodiscard]] const std::vector<std::string>& notes() const {
    return notes_;
  }  // sentences, about the overlay

  // The file read again. An Error has one problem a line.
  [[nodiscard]] Result<Proposal> reread() const;
  // `resolvers`: of this host, as VMs are told now.
  [[nodiscard]] Result<Proposal> edited(const EditRequest& request,
                                        const std::vector<net::Ipv4Addr>& resolvers) const;

  // Nothing where the persistent edits stay as they are.
  [[nodiscard]] Result<std::optional<FreshFile>> keep(const Proposal& proposal) const;
  // `in_effect()` is what was wanted. An Error: it is, but will not be after a restart.
  Result<void> take_over(Proposal proposal, std::optional<FreshFile> kept);

 private:
  explicit Configuration(std::string path) : path_(std::move(path)) {}
  std::optional<config::Problems> read_file(config::Problems* notes);
  void read_persistent_edits();
  void leave_out_unfit(const std::vector<Edit>& edits);
  void accept(std::vector<Edit> edits, std::vector<Edit>& accepted);
  [[nodiscard]] std::string overlay_path() const;

  std::string path_;
  config::Document file_, document_;
  Overlay overlay_;
  config::Config in_effect_;
  config::Origins origins_;
  std::vector<std::string> notes_;
  std::string cannot_keep_;  // why no persistent edit can be kept; empty: they can
};

}  // namespace vmnat::control
