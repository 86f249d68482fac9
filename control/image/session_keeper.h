// SPDX-License-Identifier: Apache-2.0
// SessionKeeper: what survives the process, from the image of the one before to that of this one.
//
//   open()         locks what is there, and reads its head: the workers' clock goes on from it
//   make_image()   memory for this process's records; without any place for it, sessions end with the process
//   restore()      the sessions of the former image enter the tables, and its totals are read
//   take_effect()  this process's image replaces the former one; workers may run
//   set_names()    whenever ports or networks get other numbers, before the workers know them; set_rented(): the
//                  same for the address that DHCP gives
//   set_totals()   once a second, before anybody is told of a counter, and when the workers have stopped
//
// The names in effect when a record is written are those that it is read by: a number that has changed hands
// is told here before any session has it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/image/restore.h"
#include "control/image/session_image.h"

namespace vmnat::control {

class SessionKeeper {
 public:
  // Fails only when another daemon has the sessions of this control socket.
  static Result<SessionKeeper> open(const config::Config& config, bool uses_hugepages, Moment now);

  // When the workers' clock was, or is, 0.
  [[nodiscard]] std::uint64_t start_tsc() const { return former_ ? former_->start_tsc(now_) : now_.tsc; }
  // What numbers stood for; nothing without former sessions.
  [[nodiscard]] SessionNames former_names() const { return former_ ? former_->names() : SessionNames{}; }

  void make_image(const std::vector<int>& worker_nodes, std::uint32_t capacity);
  // None: the table has memory of its own.
  [[nodiscard]] std::span<conntrack::Session> records(WorkerIndex worker);
  [[nodiscard]] SessionImage* image() { return image_ ? &*image_ : nullptr; }

  void restore(const Today& today, std::span<const std::unique_ptr<conntrack::Conntrack>> tables, Time now);
  void take_effect();
  void set_names(SessionNames names);
  // Of the only uplink, or the first of several, and by name of another one.
  void set_rented(net::Ipv4Addr address);
  [[nodiscard]] net::Ipv4Addr rented() const { return names_.rented; }
  void set_rented(const std::string& uplink, net::Ipv4Addr address);
  [[nodiscard]] net::Ipv4Addr rented(const std::string& uplink) const;
  [[nodiscard]] const std::map<std::string, net::Ipv4Addr>& more_rented() const { return names_.more_rented; }
  // The uplinks that networks are on from now on, before the workers know it.
  void set_uplinks(std::vector<std::string> of_networks);
  // What the processes before have counted, settled: this one's totals are its own counters on top of it. Empty:
  // counters start at 0.
  [[nodiscard]] const Totals& carried() const { return carried_; }
  void set_totals(const Totals& totals);

  // For operators: where records stand (empty: nowhere that survives), and what became of the former ones.
  [[nodiscard]] std::string path() const { return image_ ? image_->place().path : std::string{}; }
  [[nodiscard]] const std::optional<conntrack::Revivals>& revivals() const { return revivals_; }

 private:
  SessionKeeper(Moment now, bool is_wanted, bool uses_hugepages)
      : now_(std::move(now)), is_wanted_(is_wanted), uses_hugepages_(uses_hugepages) {}
  Result<void> look_at(const ImagePlace& place);
  void carry_totals();

  Moment now_;
  bool is_wanted_;
  bool uses_hugepages_;
  std::vector<ImagePlace> places_;         // where an image may be made; the best first
  std::vector<FileDescriptor> locks_;      // on the images that the new one replaces
  std::vector<std::string> former_paths_;  // of these
  std::optional<FormerImage> former_;
  std::optional<SessionImage> image_;
  SessionNames names_;  // in effect
  std::optional<conntrack::Revivals> revivals_;
  Totals carried_;
  bool do_totals_fit_ = true;
};

}  // namespace vmnat::control
