// SPDX-License-Identifier: Apache-2.0
#include "control/image/session_keeper.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace vmnat::control {

Result<SessionKeeper> SessionKeeper::open(const config::Config& config, bool uses_hugepages, Moment now) {
  SessionKeeper keeper(std::move(now), config.conntrack.survive_restart, uses_hugepages);
  for (const ImagePlace& place : image_places(config.control.socket))
    if (auto looked = keeper.look_at(place); !looked) return tl::unexpected(looked.error());
  return keeper;
}

// Where an image may be made, what is there is locked. Of several images, as a changed choice of pages leaves
// them when the process is killed in the act, the youngest counts.
Result<void> SessionKeeper::look_at(const ImagePlace& place) {
  LockedFile found = lock_existing(place.path);
  if (found.found == Found::InUse)
    return tl::unexpected(
        Error{place.path, "another vmnatd with the same control.socket has these sessions, and runs"});
  if (found.found == Found::Foreign) {
    spdlog::warn("{} is no file of this user's alone, and is left alone", place.path);
    return {};
  }
  places_.push_back(place);
  if (found.found == Found::Nothing) return {};
  former_paths_.push_back(place.path);
  if (!is_wanted_) {
    locks_.push_back(std::move(found.file));
    return {};
  }
  FileDescriptor lock{fcntl(found.file.number(), F_DUPFD_CLOEXEC, 0)};
  auto former = FormerImage::open(std::move(found.file), place.path, now_);
  if (!former)
    spdlog::warn("no session of the process before goes on, and counters start at 0: {}",
                 to_string(former.error()));
  else if (!former_ || former_->header().written_boot < former->header().written_boot)
    former_.emplace(std::move(*former));
  locks_.push_back(std::move(lock));
  return {};
}

void SessionKeeper::make_image(const std::vector<int>& worker_nodes, std::uint32_t capacity) {
  if (!is_wanted_) return;
  std::string problem = "no hugetlbfs, /dev/shm or directory of control.socket that is a tmpfs";
  const SessionImage::Shape shape{
      .worker_nodes = worker_nodes, .capacity = capacity, .start_tsc = start_tsc()};
  for (const ImagePlace& place : places_) {
    if (place.is_huge && !uses_hugepages_) continue;
    auto image = SessionImage::create(place, shape, now_);
    if (image) {
      image_.emplace(std::move(*image));
      spdlog::info("sessions survive a restart in {}", place.path);
      return;
    }
    problem = to_string(image.error());
  }
  spdlog::warn("sessions will not survive a restart: {}", problem);
}

std::span<conntrack::Session> SessionKeeper::records(WorkerIndex worker) {
  return image_ ? image_->records(worker) : std::span<conntrack::Session>{};
}

void SessionKeeper::restore(const Today& today, std::span<const std::unique_ptr<conntrack::Conntrack>> tables,
                            Time now) {
  if (!former_) return;
  revivals_ = Restore(former_->names(), today, tables).run(*former_, now);
  spdlog::info("after a {} of the process before: {}", former_->is_clean() ? "stop" : "kill",
               to_string(*revivals_));
  carry_totals();
}

// Sessions are counted by what was found of them, if by nothing else.
void SessionKeeper::carry_totals() {
  auto totals = former_->totals();
  if (totals)
    carried_ = *std::move(totals);
  else
    spdlog::warn("counters start at 0, but those of sessions: {}", to_string(totals.error()));
  settle_frames(carried_);
  settle_sessions(carried_, *revivals_);
  set_totals(carried_);
}

void SessionKeeper::take_effect() {
  bool has_taken_effect = false;
  if (image_) {
    const auto done = image_->take_effect();
    has_taken_effect = done.has_value();
    if (!done) spdlog::warn("sessions will not survive a restart: {}", to_string(done.error()));
  }
  for (const std::string& former : former_paths_)
    if (!has_taken_effect || former != path()) unlink(former.c_str());
  former_.reset();
  locks_.clear();
  former_paths_.clear();
}

void SessionKeeper::set_names(SessionNames names) {
  names_ = std::move(names);
  if (image_ && !image_->set_names(names_))
    spdlog::warn("the names of ports and networks do not fit into {}: sessions of new ones will not survive",
                 path());
}

void SessionKeeper::set_totals(const Totals& totals) {
  if (!image_) return;
  const bool do_fit = image_->set_totals(totals);
  if (!do_fit && do_totals_fit_)
    spdlog::warn("the counters do not fit into {}: after a restart they will be those of now", path());
  do_totals_fit_ = do_fit;
}

void SessionKeeper::set_rented(net::Ipv4Addr address) {
  if (names_.rented == address) return;
  SessionNames names = names_;
  names.rented = address;
  set_names(std::move(names));
}

void SessionKeeper::set_rented(const std::string& uplink, net::Ipv4Addr address) {
  if (rented(uplink) == address) return;
  SessionNames names = names_;
  names.more_rented[uplink] = address;
  set_names(std::move(names));
}

net::Ipv4Addr SessionKeeper::rented(const std::string& uplink) const {
  const auto found = names_.more_rented.find(uplink);
  return found == names_.more_rented.end() ? net::Ipv4Addr{} : found->second;
}

void SessionKeeper::set_uplinks(std::vector<std::string> of_networks) {
  if (names_.uplinks == of_networks) return;
  SessionNames names = names_;
  names.uplinks = std::move(of_networks);
  set_names(std::move(names));
}

}  // namespace vmnat::control
