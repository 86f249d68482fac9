// SPDX-License-Identifier: Apache-2.0
// Reading goes from marker to marker: a valid record is taken, any other byte is stepped over.
#include "dhcp/journal.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>

namespace vmnat::dhcp {
namespace {

constexpr std::string_view kHeader = "vmnat-leases 1\n";
constexpr std::uint32_t kMarker = 0x1ea5e5ed;
constexpr std::size_t kPrefix = 4 + 2 + 4;
constexpr std::size_t kMaxText = 255;

constexpr auto kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}();

// CRC-32C (Castagnoli), as in RFC 3720 appendix B.4.
constexpr std::uint32_t crc32c(ByteView bytes) {
  std::uint32_t crc = ~0u;
  for (const std::byte byte : bytes)
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff];
  return ~crc;
}
constexpr std::array kCrcSample = {std::byte{'1'}, std::byte{'2'}, std::byte{'3'},
                                   std::byte{'4'}, std::byte{'5'}, std::byte{'6'},
                                   std::byte{'7'}, std::byte{'8'}, std::byte{'9'}};
static_assert(crc32c(kCrcSample) == 0xe3069283);

template <typename T>
void put(Bytes& bytes, const T& value) {
  const auto raw = std::as_bytes(std::span{&value, 1});
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

void put_text(Bytes& bytes, ByteView text) {
  text = text.first(std::min(text.size(), kMaxText));
  bytes.push_back(static_cast<std::byte>(text.size()));
  bytes.insert(bytes.end(), text.begin(), text.end());
}

// Takes values from the front of a body; nothing after the first one that is not there.
class Reader {
 public:
  explicit Reader(ByteView bytes) : left_(bytes) {}
  template <typename T>
  T take() {
    T value{};
    if (const ByteView raw = take_bytes(sizeof(T)); !raw.empty()) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  ByteView take_text() { return take_bytes(take<std::uint8_t>()); }
  [[nodiscard]] bool took_exactly_all() const { return whole_ && left_.empty(); }

 private:
  ByteView take_bytes(std::size_t size) {
    whole_ = whole_ && size <= left_.size();
    if (!whole_) return {};
    const ByteView taken = left_.first(size);
    left_ = left_.subspan(size);
    return taken;
  }
  ByteView left_;
  bool whole_ = true;
};

std::string to_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Bytes body_of(const Lease& lease) {
  const auto expires =
      std::chrono::duration_cast<std::chrono::milliseconds>(lease.expires.time_since_epoch());
  Bytes body;
  put(body, lease.state);
  put(body, lease.address);
  put(body, lease.mac);
  put(body, std::int64_t{expires.count()});
  put_text(body, bytes_of(lease.port));
  put_text(body, bytes_of(lease.hostname));
  put_text(body, lease.client_id);
  return body;
}

// Whether WallTime can hold it; a record with other times was not written by us.
bool is_representable(std::chrono::milliseconds since_epoch) {
  constexpr auto kLimit = std::chrono::duration_cast<std::chrono::milliseconds>(WallTime::duration::max());
  return since_epoch > -kLimit && since_epoch < kLimit;
}

std::optional<Lease> lease_of(ByteView body) {
  Reader reader{body};
  Lease lease;
  lease.state = reader.take<LeaseState>();
  lease.address = reader.take<net::Ipv4Addr>();
  lease.mac = reader.take<net::MacAddr>();
  const std::chrono::milliseconds expires{reader.take<std::int64_t>()};
  lease.port = to_text(reader.take_text());
  lease.hostname = to_text(reader.take_text());
  const ByteView client_id = reader.take_text();
  lease.client_id.assign(client_id.begin(), client_id.end());
  const bool known_state = lease.state >= LeaseState::Offered && lease.state <= LeaseState::Declined;
  if (!reader.took_exactly_all() || !known_state || !is_representable(expires)) return std::nullopt;
  lease.expires = WallTime{expires};
  return lease;
}

// The body of the record that starts `bytes`, when one does.
std::optional<ByteView> record_body(ByteView bytes) {
  Reader reader{bytes.first(std::min(bytes.size(), kPrefix))};
  const auto marker = reader.take<std::uint32_t>();
  const auto length = reader.take<std::uint16_t>();
  const auto crc = reader.take<std::uint32_t>();
  if (!reader.took_exactly_all() || marker != kMarker || bytes.size() - kPrefix < length) return std::nullopt;
  const ByteView body = bytes.subspan(kPrefix, length);
  return crc32c(body) == crc ? std::optional{body} : std::nullopt;
}

}  // namespace

Bytes journal_header() {
  const ByteView header = bytes_of(kHeader);
  return {header.begin(), header.end()};
}

Bytes journal_records(std::span<const Lease> leases) {
  Bytes bytes;
  for (const Lease& lease : leases) {
    const Bytes body = body_of(lease);
    put(bytes, kMarker);
    put(bytes, static_cast<std::uint16_t>(body.size()));
    put(bytes, crc32c(body));
    bytes.insert(bytes.end(), body.begin(), body.end());
  }
  return bytes;
}

JournalContent read_journal(ByteView bytes) {
  JournalContent content;
  const ByteView header = bytes_of(kHeader);
  content.is_journal =
      bytes.size() >= header.size() && std::ranges::equal(bytes.first(header.size()), header);
  if (!content.is_journal) return content;

  std::map<net::Ipv4Addr, Lease> last;
  bytes = bytes.subspan(header.size());
  while (!bytes.empty()) {
    const auto body = record_body(bytes);
    auto lease = body ? lease_of(*body) : std::nullopt;
    if (!lease) {
      ++content.damaged_bytes;
      bytes = bytes.subspan(1);
      continue;
    }
    ++content.records;
    bytes = bytes.subspan(kPrefix + body->size());
    last.insert_or_assign(lease->address, std::move(*lease));
  }
  for (auto& [address, lease] : last) content.leases.push_back(std::move(lease));
  return content;
}

}  // namespace vmnat::dhcp
