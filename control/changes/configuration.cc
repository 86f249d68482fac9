// SPDX-License-Identifier: Apache-2.0
#include "control/changes/configuration.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>

namespace vmnat::control {
namespace {

using config::Document;
using config::LoadOptions;
using config::Problems;

// One a line.
template <typename Each, typename Text>
Error error_of(const std::vector<Each>& all, Text text_of) {
  std::vector<std::string> lines(all.size());
  std::ranges::transform(all, lines.begin(), text_of);
  return {"", fmt::format("{}", fmt::join(lines, "\n"))};
}
Error error_of(const Problems& problems) {
  return error_of(problems, [](const config::Problem& problem) { return config::to_string(problem); });
}

// What the file and the overlay are together, or why they do not fit.
Result<Proposal> combine(const Document& file, const Overlay& overlay, LoadOptions options = {}) {
  Proposal proposal{.file = file, .overlay = overlay, .document = file, .wanted = {}, .origins = {}};
  const auto refusals = lay_over(overlay, proposal.document);
  if (!refusals.empty()) return tl::unexpected(error_of(refusals, &Refusal::sentence));
  options.origins = &proposal.origins;
  auto wanted = load_document(proposal.document, options);
  if (!wanted) return tl::unexpected(error_of(wanted.error()));
  proposal.wanted = *std::move(wanted);
  return proposal;
}

bool same_edits(const std::vector<Edit>& a, const std::vector<Edit>& b) {
  return overlay_text(a) == overlay_text(b);
}

}  // namespace

tl::expected<std::unique_ptr<Configuration>, Problems> Configuration::load(const std::string& path,
                                                                           Problems* notes) {
  std::unique_ptr<Configuration> configuration(new Configuration(path));
  if (auto problems = configuration->read_file(notes)) return tl::unexpected(*std::move(problems));
  configuration->read_persistent_edits();
  return configuration;
}

std::optional<Problems> Configuration::read_file(Problems* notes) {
  auto file = config::read_document(path_);
  if (!file) return file.error();
  auto alone = load_document(*file, {.notes = notes, .origins = &origins_});
  if (!alone) return alone.error();
  file_ = document_ = *std::move(file);
  in_effect_ = *std::move(alone);
  return std::nullopt;
}

std::string Configuration::overlay_path() const {
  return control::overlay_path(in_effect_.control.state_dir);
}

void Configuration::read_persistent_edits() {
  const auto edits = read_overlay(overlay_path());
  if (edits) {
    if (!edits->empty()) leave_out_unfit(*edits);
    return;
  }
  const auto aside = set_aside(overlay_path());
  notes_.push_back(fmt::format("what scripts have changed persistently is lost: {}; {}",
                               to_string(edits.error()),
                               aside ? "it is kept as " + *aside : to_string(aside.error())));
  if (!aside) cannot_keep_ = to_string(edits.error());
}

// All at once; if that is not good, those that are.
void Configuration::leave_out_unfit(const std::vector<Edit>& edits) {
  std::vector<Edit> accepted;
  const Overlay pruned = without_pointless({.persistent = edits, .until_restart = {}}, file_);
  const std::size_t notes_before = notes_.size();
  accept(pruned.persistent, accepted);
  auto combined = combine(file_, {.persistent = std::move(accepted), .until_restart = {}});
  if (!combined) return;  // not: each step of accept() was good
  if (notes_.size() != notes_before)
    if (const auto aside = copy_aside(overlay_path()); aside)
      notes_.push_back("all of the persistent edits, as they were, are kept as " + *aside);
  in_effect_ = combined->wanted;
  auto kept = same_edits(edits, combined->overlay.persistent) ? Result<std::optional<FreshFile>>{std::nullopt}
                                                              : keep(*combined);
  if (!kept) notes_.push_back(to_string(kept.error()));
  if (const auto taken = take_over(*std::move(combined), kept ? *std::move(kept) : std::nullopt); !taken)
    notes_.push_back(to_string(taken.error()));
}

// Halves what does not fit until it is one edit, which is left out.
void Configuration::accept(std::vector<Edit> edits, std::vector<Edit>& accepted) {
  if (edits.empty()) return;
  Overlay candidate{.persistent = accepted, .until_restart = {}};
  std::ranges::copy(edits, std::back_inserter(candidate.persistent));
  const auto combined = combine(file_, candidate);
  if (combined) {
    accepted = std::move(candidate.persistent);
    return;
  }
  if (edits.size() == 1) {
    notes_.push_back(fmt::format("left out what a script has changed: {}", combined.error().what));
    return;
  }
  const auto middle = edits.begin() + static_cast<std::ptrdiff_t>(edits.size() / 2);
  accept({edits.begin(), middle}, accepted);
  accept({middle, edits.end()}, accepted);
}

Result<Proposal> Configuration::reread() const {
  const auto file = config::read_document(path_);
  if (!file) return tl::unexpected(error_of(file.error()));
  if (const auto alone = load_document(*file); !alone) return tl::unexpected(error_of(alone.error()));
  return combine(*file, without_pointless(overlay_, *file));
}

Result<Proposal> Configuration::edited(const EditRequest& request,
                                       const std::vector<net::Ipv4Addr>& resolvers) const {
  const auto wishes = wishes_of(request, document_, overlay_);
  if (!wishes) return tl::unexpected(wishes.error());
  Overlay overlay = overlay_;
  for (const Wish& wish : *wishes) overlay = with_wish(std::move(overlay), wish, request.lasting, file_);
  return combine(file_, overlay, {.resolvers = [&] { return resolvers; }});
}

Result<std::optional<FreshFile>> Configuration::keep(const Proposal& proposal) const {
  if (same_edits(proposal.overlay.persistent, overlay_.persistent)) return std::nullopt;
  if (!cannot_keep_.empty())
    return tl::unexpected(Error{"", "no persistent edit can be kept: " + cannot_keep_});
  auto fresh = write_overlay(overlay_path(), proposal.overlay.persistent);
  if (!fresh) return tl::unexpected(fresh.error());
  return std::optional<FreshFile>{*std::move(fresh)};
}

Result<void> Configuration::take_over(Proposal proposal, std::optional<FreshFile> kept) {
  file_ = std::move(proposal.file);
  document_ = std::move(proposal.document);
  overlay_ = std::move(proposal.overlay);
  origins_ = std::move(proposal.origins);
  for (Edit& edit : overlay_.persistent) forget_lines(edit);
  for (Edit& edit : overlay_.until_restart) forget_lines(edit);
  if (!kept) return {};
  const auto placed = std::move(*kept).put_in_place_durably();
  if (!placed)
    return tl::unexpected(
        Error{placed.error().where, "changed, but not for after a restart: " + placed.error().what});
  return {};
}

}  // namespace vmnat::control
