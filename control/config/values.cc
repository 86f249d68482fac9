// SPDX-License-Identifier: Apache-2.0
// Text to value and back; see the header for what is accepted.
#include "control/config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <limits>

namespace vmnat::config {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool has_space(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return c >= 0 && c <= ' '; });
}
// As the kernel takes it (dev_valid_name).
bool may_be_interface(std::string_view text) {
  constexpr std::size_t kLongest = 15;  // IFNAMSIZ less the final NUL
  return !text.empty() && text.size() <= kLongest && text.find('/') == std::string_view::npos &&
         text != "." && text != "..";
}

// Takes the digits at the front of `text` as a number; nothing when there are none or too many.
std::optional<std::uint64_t> take_digits(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

struct Unit {
  char letter;
  std::uint64_t size;
};
constexpr std::array kTimeUnits{Unit{'d', 86400}, Unit{'h', 3600}, Unit{'m', 60}, Unit{'s', 1}};
constexpr std::array kSizeUnits{Unit{'T', 1ull << 40}, Unit{'G', 1ull << 30}, Unit{'M', 1ull << 20},
                                Unit{'K', 1ull << 10}};
constexpr std::array kRateUnits{Unit{'T', 1'000'000'000'000}, Unit{'G', 1'000'000'000}, Unit{'M', 1'000'000},
                                Unit{'K', 1000}};
constexpr std::uint64_t kLongest = 200ull * 365 * 86400;  // two hundred years: no sum below can overflow

const Unit* find_unit(const auto& units, char letter) {
  const auto at = std::find_if(units.begin(), units.end(), [=](const Unit& u) { return u.letter == letter; });
  return at == units.end() ? nullptr : &*at;
}

Parsed<std::string> fits_into_option(Parsed<std::string> bytes) {
  constexpr std::size_t kLongestOption = 255;  // RFC 2132 section 2: one byte of length
  if (bytes && bytes->size() > kLongestOption)
    return tl::unexpected("an option has at most 255 bytes, this one has " + std::to_string(bytes->size()));
  return bytes;
}

}  // namespace

Parsed<bool> boolean(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return is_not(text, "true or false");
}

Parsed<std::uint64_t> number(std::string_view text) {
  std::string_view rest = text;
  const auto value = take_digits(rest);
  if (!value || !rest.empty()) return is_not(text, "a whole number");
  return *value;
}

Parsed<std::uint64_t> number_within(std::string_view text, std::uint64_t lowest, std::uint64_t highest) {
  auto value = number(text);
  if (value && (*value < lowest || *value > highest))
    return tl::unexpected("must be between " + std::to_string(lowest) + " and " + std::to_string(highest) +
                          ", not " + std::string{text});
  return value;
}

Parsed<std::chrono::seconds> duration(std::string_view text) {
  const auto complaint = is_not(text, "a duration (write 90s, 5m, 2h4m or 1d)");
  std::string_view rest = text;
  std::uint64_t total = 0, smallest = std::numeric_limits<std::uint64_t>::max();
  while (!rest.empty()) {
    const auto count = take_digits(rest);
    const Unit* unit = rest.empty() ? nullptr : find_unit(kTimeUnits, rest.front());
    if (!count || unit == nullptr || unit->size >= smallest) return complaint;
    if (*count > kLongest / unit->size) return tl::unexpected(quoted(text) + " is too long");
    total += *count * unit->size;
    smallest = unit->size;
    rest.remove_prefix(1);
  }
  if (text.empty()) return complaint;
  if (total > kLongest) return tl::unexpected(quoted(text) + " is too long");
  return std::chrono::seconds{total};
}

Parsed<std::chrono::seconds> timeout(std::string_view text) {
  auto value = duration(text);
  if (value && (*value < std::chrono::seconds{1} || *value > std::chrono::days{30}))
    return tl::unexpected(quoted(text) + " is not between 1s and 30d");
  return value;
}

Parsed<std::chrono::seconds> lease_time(std::string_view text) {
  if (text == "infinite") return kInfiniteLease;
  const auto value = duration(text);
  if (!value) return is_not(text, "a lease time (write 30m, 12h, 7d or infinite)");
  if (*value < std::chrono::minutes{2})
    return tl::unexpected(quoted(text) + " is too short: a lease lasts 2m or more");
  if (*value >= kInfiniteLease) return tl::unexpected(quoted(text) + " is too long (write infinite)");
  return *value;
}

Parsed<ByteSize> byte_size(std::string_view text) {
  std::string_view rest = text;
  const auto count = take_digits(rest);
  const Unit* unit = rest.size() == 1 ? find_unit(kSizeUnits, rest.front()) : nullptr;
  if (!count || unit == nullptr) return is_not(text, "a size (write 512M or 2G)");
  if (*count > (1ull << 50) / unit->size) return tl::unexpected(quoted(text) + " is too much");
  return ByteSize{*count * unit->size};
}

Parsed<BitRate> bit_rate(std::string_view text) {
  constexpr std::uint64_t kLeast = 8000, kMost = 1'000'000'000'000;
  std::string_view rest = text;
  const auto count = take_digits(rest);
  const Unit* unit = rest.size() == 1 ? find_unit(kRateUnits, rest.front()) : nullptr;
  if (!count || (unit == nullptr && !rest.empty()))
    return is_not(text, "a rate (write 100M or 2500K, in bits a second)");
  const std::uint64_t size = unit == nullptr ? 1 : unit->size;
  if (*count > kMost / size || *count * size < kLeast)
    return tl::unexpected(quoted(text) + " is not between 8K and 1T bits a second");
  return BitRate{*count * size};
}

Parsed<std::string> any_text(std::string_view text) {
  if (text.empty()) return tl::unexpected(std::string{"must not be empty"});
  if (text.find('\0') != std::string_view::npos)
    return tl::unexpected(std::string{"contains a NUL character"});
  return std::string{text};
}

Parsed<std::string> text_or_none(std::string_view text) {
  return text.empty() ? Parsed<std::string>{""} : any_text(text);
}

Parsed<std::string> boot_file(std::string_view text) {
  constexpr std::size_t kLongestName = 255;  // RFC 2132 section 9.5: option 67
  if (text.size() > kLongestName)
    return tl::unexpected("a boot file's name has at most 255 bytes, this one has " +
                          std::to_string(text.size()));
  return any_text(text);
}

Parsed<std::string> identifier(std::string_view text) {
  const bool valid = std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_' || c == '.';
  });
  if (text.empty() || text.size() > 63 || !valid || !is_alphanumeric(text.front()))
    return is_not(text,
                  "a name (1 to 63 of letters, digits, '-', '_', '.', starting with a letter or digit)");
  return std::string{text};
}

Parsed<std::string> host_name(std::string_view text) {
  const bool valid =
      std::all_of(text.begin(), text.end(), [](char c) { return is_alphanumeric(c) || c == '-'; });
  if (text.empty() || text.size() > 63 || !valid || text.front() == '-' || text.back() == '-')
    return is_not(text, "a host name (1 to 63 of letters, digits and '-')");
  return std::string{text};
}

Parsed<std::string> domain_name(std::string_view text) {
  const auto complaint = is_not(text, "a domain name (write lab.example)");
  if (text.empty() || text.size() > 253) return complaint;
  for (std::string_view rest = text;;) {
    const auto dot = rest.find('.');
    if (!host_name(rest.substr(0, dot))) return complaint;
    if (dot == std::string_view::npos) return std::string{text};
    rest.remove_prefix(dot + 1);
  }
}

Parsed<std::string> domain_or_none(std::string_view text) {
  return text.empty() ? Parsed<std::string>{""} : domain_name(text);
}

Parsed<std::string> txt_record(std::string_view text) {
  const bool is_good = std::all_of(text.begin(), text.end(),
                                   [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
  if (text.empty() || text.size() > 255 || !is_good)
    return is_not(text, "a text record (1 to 255 printable ASCII characters, no double quote or backslash)");
  return std::string{text};
}

Parsed<std::string> absolute_path(std::string_view text) {
  if (!text.starts_with('/') || text.find('\0') != std::string_view::npos)
    return is_not(text, "an absolute path");
  return std::string{text};
}

Parsed<std::string> socket_path(std::string_view text) {
  constexpr std::size_t kLongestPath = 107;  // sizeof(sockaddr_un::sun_path) less the final NUL
  if (text.size() > kLongestPath)
    return tl::unexpected("the path of a socket has at most 107 characters, this one has " +
                          std::to_string(text.size()));
  return absolute_path(text);
}

Parsed<std::string> vhost_socket(std::string_view text) {
  if (text.starts_with('/')) return socket_path(text);
  const std::string in_slashes = "/" + std::string{text} + "/";
  if (text.empty() || in_slashes.find("/../") != std::string::npos ||
      in_slashes.find("//") != std::string::npos)
    return is_not(text, "a socket's path: absolute, or within vhost_user.directory");
  return socket_path("/" + std::string{text}).map([&](const std::string&) { return std::string{text}; });
}

Parsed<FileMode> file_mode(std::string_view text) {
  const std::string_view digits = text.size() == 4 && text.front() == '0' ? text.substr(1) : text;
  if (digits.size() != 3 || digits.find_first_not_of("01234567") != std::string_view::npos)
    return is_not(text, "a mode of three octal digits, such as \"0770\"");
  FileMode mode;
  for (const char digit : digits) mode.bits = mode.bits << 3 | static_cast<unsigned>(digit - '0');
  return mode;
}

Parsed<std::string> device_name(std::string_view text) {
  const bool is_interface = device_kind(text) == DeviceKind::KernelInterface;
  if (text.empty() || has_space(text) || (is_interface && !may_be_interface(text)))
    return is_not(text,
                  "a device (a PCI address, a kernel interface of at most 15 characters, or DPDK devargs)");
  return std::string{text};
}

Parsed<std::string> interface_name(std::string_view text) {
  if (has_space(text) || device_kind(text) != DeviceKind::KernelInterface || !may_be_interface(text))
    return is_not(text, "a kernel interface (a name of at most 15 characters, as `ip link` lists it)");
  return std::string{text};
}

Parsed<std::string> hex_bytes(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(&text[i], &text[i] + 2, value, 16);
    if (error != std::errc{} || end != &text[i] + 2) return is_not(text, "hexadecimal bytes (write 0a0b)");
    bytes += static_cast<char>(value);
  }
  if (text.empty() || text.size() % 2 != 0) return is_not(text, "hexadecimal bytes (write 0a0b)");
  return bytes;
}

Parsed<std::string> option_text(std::string_view text) {
  return fits_into_option(any_text(text));
}
Parsed<std::string> option_bytes(std::string_view text) {
  return fits_into_option(hex_bytes(text));
}

std::string hex_text(const std::string& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string to_text(std::chrono::seconds duration) {
  if (duration == kInfiniteLease) return "infinite";
  std::string text;
  auto left = static_cast<std::uint64_t>(duration.count());
  for (const Unit& unit : kTimeUnits) {
    if (left / unit.size != 0) text += std::to_string(left / unit.size) + unit.letter;
    left %= unit.size;
  }
  return text.empty() ? "0s" : text;
}

std::string to_text(ByteSize size) {
  for (const Unit& unit : kSizeUnits)
    if (size.bytes != 0 && size.bytes % unit.size == 0)
      return std::to_string(size.bytes / unit.size) + unit.letter;
  return std::to_string(size.bytes / 1024) + "K";
}

std::string to_text(BitRate rate) {
  for (const Unit& unit : kRateUnits)
    if (rate.per_second != 0 && rate.per_second % unit.size == 0)
      return std::to_string(rate.per_second / unit.size) + unit.letter;
  return std::to_string(rate.per_second);
}

std::string to_text(FileMode mode) {
  return fmt::format("{:04o}", mode.bits);
}

}  // namespace vmnat::config
