// SPDX-License-Identifier: Apache-2.0
#include "control/http/message.h"

#include <algorithm>
#include <charconv>

namespace vmnat::http {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_same(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}
std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}
// Cuts off what stands before the separator, or all.
std::string_view take_until(std::string_view& rest, char separator) {
  const auto end = rest.find(separator);
  const std::string_view taken = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return taken;
}

bool is_control(unsigned char c) {
  return c < 0x20 || c == 0x7f;
}

// "%2F" is "/". Of options "+" is a space.
std::optional<std::string> unescaped(std::string_view text, bool is_option) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '%') {
      const std::string_view digits = text.substr(i + 1, 2);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), c, 16);
      if (digits.size() != 2 || error != std::errc{} || end != digits.data() + 2) return std::nullopt;
      i += 2;
    } else if (c == '+' && is_option) {
      c = ' ';
    }
    if (is_control(c)) return std::nullopt;
    plain += static_cast<char>(c);
  }
  return plain;
}

// "q=0.75" in thousandths; 0 where it is none.
unsigned thousandths(std::string_view text) {
  if (text.empty() || (text[0] != '0' && text[0] != '1')) return 0;
  unsigned value = text[0] == '1' ? 1000 : 0;
  text.remove_prefix(1);
  if (text.empty()) return value;
  if (text[0] != '.' || text.size() > 4) return 0;
  for (unsigned weight = 100; const char digit : text.substr(1)) {
    if (digit < '0' || digit > '9') return 0;
    value += weight * static_cast<unsigned>(digit - '0');
    weight /= 10;
  }
  return std::min(value, 1000u);
}

struct MediaRange {
  std::string_view type, version;
  unsigned quality = 1000;
};
MediaRange media_range(std::string_view text) {
  MediaRange range{.type = trimmed(take_until(text, ';')), .version = {}};
  while (!text.empty()) {
    std::string_view value = take_until(text, ';');
    const std::string_view name = trimmed(take_until(value, '='));
    if (is_same(name, "q")) range.quality = thousandths(trimmed(value));
    if (is_same(name, "version")) range.version = trimmed(value);
  }
  return range;
}

// "[::1]:9469" is "[::1]"; "127.0.0.1:9469" is "127.0.0.1". Nothing: what follows is no port.
std::optional<std::string_view> without_port(std::string_view host) {
  const auto begin = host.starts_with('[') ? host.find(']') : 0;
  if (begin == std::string_view::npos) return std::nullopt;
  const auto colon = host.find(':', begin);
  if (colon == std::string_view::npos) return host;
  const std::string_view port = host.substr(colon + 1);
  if (port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return host.substr(0, colon);
}

}  // namespace

std::optional<Target> parse_target(std::string_view text) {
  if (!text.starts_with('/')) return std::nullopt;
  std::string_view query = text;
  auto path = unescaped(take_until(query, '?'), false);
  if (!path) return std::nullopt;
  Target target{.path = *std::move(path), .options = {}};
  while (!query.empty()) {
    std::string_view option = take_until(query, '&');
    if (option.empty()) continue;
    auto name = unescaped(take_until(option, '='), true);
    auto value = unescaped(option, true);
    if (!name || name->empty() || !value) return std::nullopt;
    target.options.emplace_back(*std::move(name), *std::move(value));
  }
  return target;
}

Exposition preferred_exposition(std::string_view accept) {
  unsigned open_metrics = 0, text = 0;
  while (!accept.empty()) {
    const MediaRange range = media_range(take_until(accept, ','));
    if (is_same(range.type, "application/openmetrics-text")) {
      if (range.version.empty() || range.version == "1.0.0")
        open_metrics = std::max(open_metrics, range.quality);
    } else if (is_same(range.type, "text/plain") || is_same(range.type, "text/*") || range.type == "*/*") {
      text = std::max(text, range.quality);
    }
  }
  return open_metrics > 0 && open_metrics >= text ? Exposition::OpenMetrics : Exposition::Text;
}

bool is_own_host(std::string_view host, net::Ipv4Addr listens, std::string_view own_name) {
  const auto name = without_port(trimmed(host));
  if (!name || name->empty()) return false;
  if (const auto address = net::parse_ipv4(*name))
    return *address == listens || listens.is_unspecified() || address->kind() == net::AddressKind::Loopback;
  return is_same(*name, "localhost") || (!own_name.empty() && is_same(*name, own_name));
}

bool bears_token(std::string_view authorization, std::string_view token) {
  constexpr std::string_view kScheme = "Bearer ";
  if (token.empty() || !is_same(authorization.substr(0, kScheme.size()), kScheme)) return false;
  const std::string_view given = trimmed(authorization.substr(kScheme.size()));
  unsigned difference = given.size() == token.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i)
    difference |= static_cast<unsigned char>(given[i] ^ token[i % token.size()]);
  return difference == 0;
}

}  // namespace vmnat::http
