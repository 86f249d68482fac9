// SPDX-License-Identifier: Apache-2.0
// The image of an earlier process's sessions under any bytes. Promises: what is restored keeps all invariants,
// no two sessions have one external endpoint towards one remote, each belongs to a network and port that there
// are, and the same bytes give the same sessions. Totals are read or refused, and those that are read add up.
//
// The input is an image without the gaps: header, a copy of the names, one of the totals, then records of two workers in
// turn. The checksums of header and totals are made right for three inputs in four, or nothing but they would be tested.
#include <set>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/control/image/image_bed.h"
#include "tests/fuzz/driver.h"

namespace {

using namespace vmnat;
using namespace vmnat::control;
using conntrack::Session;

constexpr std::size_t kNamesInput = 256, kTotalsInput = 256;
constexpr unsigned kWorkers = 2;

const config::Config& configuration() {
  static const config::Config kConfig = config::load_text(kTwoNetworksWithAForward).value();
  return kConfig;
}

// Writes the parts to where an image has them.
class ImageFile {
 public:
  ImageFile() : file_(memfd_create("vmnat-fuzz-image", MFD_CLOEXEC)) {}

  void write(std::span<const std::uint8_t> input) {
    if (ftruncate(file_.number(), 0) != 0) fuzz::fault("the file cannot be cut");
    ImageHeader header{};
    const bool is_mended = !input.empty() && input.back() % 4 != 0;
    input = take(input, &header, sizeof header);
    if (is_mended) header.checksum = checksum_of(header);
    put(&header, sizeof header, 0);
    std::array<std::uint8_t, kNamesInput> names{};
    input = take(input, names.data(), names.size());
    put(names.data(), names.size(), kNamesAt);
    std::array<std::uint8_t, kTotalsInput> totals{};
    input = take(input, totals.data(), totals.size());
    if (is_mended) mend(totals);
    put(totals.data(), totals.size(), totals_at(kWorkers, Bed::kCapacity));
    for (std::uint32_t i = 0; !input.empty(); ++i) {
      Session record;
      input = take(input, static_cast<void*>(&record), sizeof record);
      put(&record, sizeof record,
          records_of_worker_at(i % kWorkers, Bed::kCapacity) + i / kWorkers * sizeof record);
    }
  }
  [[nodiscard]] Result<FormerImage> read() const {
    return FormerImage::open(FileDescriptor{dup(file_.number())}, "image", moment_at(101));
  }

 private:
  static void mend(std::span<std::uint8_t> copy) {
    CopyHeader header{};
    const auto text = copy.subspan(sizeof header);
    std::memcpy(&header, copy.data(), sizeof header);
    header.bytes %= text.size();
    header.checksum = checksum_of(header, std::as_bytes(text.first(header.bytes)));
    std::memcpy(copy.data(), &header, sizeof header);
  }
  static std::span<const std::uint8_t> take(std::span<const std::uint8_t> input, void* to,
                                            std::size_t bytes) {
    const auto some = input.first(std::min(input.size(), bytes));
    std::memcpy(to, some.data(), some.size());
    return input.subspan(some.size());
  }
  void put(const void* from, std::size_t bytes, std::size_t at) const {
    if (pwrite(file_.number(), from, bytes, static_cast<off_t>(at)) != static_cast<ssize_t>(bytes))
      fuzz::fault("the file cannot be written");
  }

  FileDescriptor file_;
};

using Facts = std::set<std::tuple<std::uint64_t, std::uint64_t, std::uint8_t>>;

void check(const Bed& bed, Facts& facts) {
  if (const std::string why = bed.broken_invariant(); !why.empty()) fuzz::fault(why);
  const auto sessions = bed.sessions();
  for (const conntrack::SessionView& session : sessions) {
    if (session.policy >= bed.names().networks.size() || session.vm_port >= bed.names().ports.size())
      fuzz::fault("a session of no network or port");
    facts.insert({conntrack::FlowKey::pack(session.external), conntrack::FlowKey::pack(session.remote),
                  static_cast<std::uint8_t>(session.protocol)});
  }
  if (facts.size() != sessions.size()) fuzz::fault("two sessions with one external tuple");
}

void check(const FormerImage& image, const conntrack::Revivals& found) {
  auto totals = image.totals();
  if (!totals) return;
  if (totals_in(to_json(*totals)) != *totals) fuzz::fault("totals that are not read as they are written");
  settle_frames(*totals);
  settle_sessions(*totals, found);
  const Totals settled = *totals;
  settle_frames(*totals);
  if (*totals != settled) fuzz::fault("totals that do not add up");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static ImageFile file;
  file.write({bytes, size});
  std::array<Facts, 2> facts;
  for (Facts& one : facts) {
    const auto image = file.read();
    if (!image) return 0;
    Bed bed(configuration(), kWorkers);
    check(*image, bed.restore(*image));
    check(bed, one);
  }
  if (facts[0] != facts[1]) fuzz::fault("the same image, and other sessions");
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  ImageHeader header{
      .magic = kImageMagic,
      .layout = kLayout,
      .workers = kWorkers,
      .facts = layout_facts(),
      .boot_id = {},
      .start_tsc = 0,
      .tsc_hz = moment_at(0).tsc_hz,
      .written_tsc = moment_at(100).tsc,
      .written_boot = static_cast<std::uint64_t>(moment_at(100).boot.time_since_epoch().count()),
      .capacity = Bed::kCapacity,
      .unused = 0,
      .checksum = 0,
      .is_clean = 0};
  const std::string boot_id = moment_at(0).boot_id;
  std::copy(boot_id.begin(), boot_id.end(), header.boot_id.begin());
  header.checksum = checksum_of(header);

  std::array<std::vector<Session>, kWorkers> records;
  for (auto& of_worker : records) of_worker.resize(Bed::kCapacity);
  Bed bed(configuration(), kWorkers, {records[0], records[1]});
  const std::string names = to_json(bed.names());
  CopyHeader names_header{.sequence = 1, .bytes = names.size(), .checksum = 0};
  names_header.checksum = checksum_of(names_header, std::as_bytes(std::span(names)));
  for (unsigned i = 0; i < 6; ++i) {
    bed.open("vm1", "192.168.122.10", 40000 + i);
    bed.open("vm2", "192.168.122.11", 50000 + i, net::Protocol::Tcp);
    bed.open("vm3", "192.168.5.10", 60000 + i, net::Protocol::Icmp);
  }

  std::vector<std::uint8_t> seed;
  const auto add = [&](const void* from, std::size_t size) {
    const auto* const at = static_cast<const std::uint8_t*>(from);
    seed.insert(seed.end(), at, at + size);
  };
  add(&header, sizeof header);
  add(&names_header, sizeof names_header);
  add(names.data(), names.size());
  seed.resize(sizeof header + kNamesInput);
  const std::string totals = to_json(some_totals());
  const CopyHeader totals_header{.sequence = 1, .bytes = totals.size(), .checksum = 0};
  add(&totals_header, sizeof totals_header);
  add(totals.data(), totals.size());
  seed.resize(sizeof header + kNamesInput + kTotalsInput);
  for (std::uint32_t i = 0; i < 12; ++i)
    for (const auto& of_worker : records) add(&of_worker[i], sizeof(Session));
  seed.push_back(1);
  return {seed};
}
