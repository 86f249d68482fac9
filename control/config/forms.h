// SPDX-License-Identifier: Apache-2.0
// The forms that a value can have in the file. A row of the tables (keys_*.h) names one; whoever walks the
// rows asks it how to read the value, how to write it, and what schema.json says of it.
//
// Example: unless("auto", within<unsigned>(1, 64)) is the form of a std::optional<unsigned>. It reads "auto"
// as nothing and "2" as 2, refuses "65" with a sentence, writes both back, and its schema is {"anyOf":
// [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 64}]}.
//
// A scalar form has the type `Value` and the functions `read`, `text`, `is_free_text` and `schema`. Lists and
// sections are marks: what is done with them follows from their type.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/config/values.h"
#include "control/config/words.h"

namespace vmnat::config {

template <typename Form>
concept ScalarForm = requires {
  typename Form::Value;
};

template <typename T>
std::string text_of(const T& value) {
  if constexpr (requires { to_text(value); })
    return to_text(value);
  else
    return net::to_string(value);
}

// Read by a function of values.h. `json` is what schema.json says.
template <typename T>
struct Scalar {
  using Value = T;
  Parsed<T> (*read)(std::string_view);
  std::string_view json;
  bool is_free = false;                         // may be any text, so a dump quotes it
  std::string (*print)(const T&) = text_of<T>;  // the inverse of `read`

  [[nodiscard]] std::string text(const T& value) const { return print(value); }
  [[nodiscard]] bool is_free_text(const T&) const { return is_free; }
  [[nodiscard]] std::string schema() const { return std::string{json}; }
};

template <std::unsigned_integral T>
struct Within {
  using Value = T;
  std::uint64_t lowest, highest;

  [[nodiscard]] Parsed<T> read(std::string_view text) const {
    return number_within(text, lowest, highest).map([](std::uint64_t value) {
      return static_cast<T>(value);
    });
  }
  [[nodiscard]] std::string text(T value) const { return std::to_string(value); }
  [[nodiscard]] bool is_free_text(T) const { return false; }
  [[nodiscard]] std::string schema() const {
    return R"({"type": "integer", "minimum": )" + std::to_string(lowest) + R"(, "maximum": )" +
           std::to_string(highest) + "}";
  }
};
template <std::unsigned_integral T>
constexpr Within<T> within(std::uint64_t lowest, std::uint64_t highest) {
  return {lowest, highest};
}

// A word of the enumeration E.
template <typename E>
struct OneOf {
  using Value = E;
  [[nodiscard]] Parsed<E> read(std::string_view text) const { return word<E>(text); }
  [[nodiscard]] std::string text(E value) const { return std::string{to_word(value)}; }
  [[nodiscard]] bool is_free_text(E) const { return false; }
  [[nodiscard]] std::string schema() const {
    std::string all;
    for (const auto& each : words_of(E{}))
      all += (all.empty() ? "\"" : ", \"") + std::string{each.text} + '"';
    return R"({"enum": [)" + all + "]}";
  }
};

// The schema, as text, of what the word may stand for.
inline std::string text_of_word_or(std::string_view word, const std::string& schema) {
  return R"({"anyOf": [{"const": ")" + std::string{word} + R"("}, )" + schema + "]}";
}

// The word stands for `special`; all else has the form `form`.
template <ScalarForm Form>
struct Except {
  using Value = typename Form::Value;
  std::string_view word;
  Value special;
  Form form;

  [[nodiscard]] Parsed<Value> read(std::string_view text) const {
    return text == word ? Parsed<Value>{special} : form.read(text);
  }
  [[nodiscard]] std::string text(const Value& value) const {
    return value == special ? std::string{word} : form.text(value);
  }
  [[nodiscard]] bool is_free_text(const Value& value) const {
    return value != special && form.is_free_text(value);
  }
  [[nodiscard]] std::string schema() const { return text_of_word_or(word, form.schema()); }
};
template <ScalarForm Form>
constexpr Except<Form> except(std::string_view word, typename Form::Value special, Form form) {
  return {word, special, form};
}

// The word stands for no value.
template <ScalarForm Form>
struct Unless {
  using Value = std::optional<typename Form::Value>;
  std::string_view word;
  Form form;

  [[nodiscard]] Parsed<Value> read(std::string_view text) const {
    if (text == word) return Value{};
    return form.read(text).map([](auto&& value) { return Value{std::forward<decltype(value)>(value)}; });
  }
  [[nodiscard]] std::string text(const Value& value) const {
    return value ? form.text(*value) : std::string{word};
  }
  [[nodiscard]] bool is_free_text(const Value& value) const { return value && form.is_free_text(*value); }
  [[nodiscard]] std::string schema() const { return text_of_word_or(word, form.schema()); }
};
template <ScalarForm Form>
constexpr Unless<Form> unless(std::string_view word, Form form) {
  return {word, form};
}

// No value (nothing, or an empty text) is no key: no word stands for it.
template <ScalarForm Form>
struct IfGiven {
  using Inner = typename Form::Value;
  using Value = std::conditional_t<std::same_as<Inner, std::string>, std::string, std::optional<Inner>>;
  Form form;

  [[nodiscard]] bool is_given(const Value& value) const { return value != Value{}; }
  [[nodiscard]] Parsed<Value> read(std::string_view text) const {
    return form.read(text).map([](auto&& value) { return Value{std::forward<decltype(value)>(value)}; });
  }
  [[nodiscard]] std::string text(const Value& value) const {
    return is_given(value) ? form.text(inner(value)) : "";
  }
  [[nodiscard]] bool is_free_text(const Value& value) const {
    return is_given(value) && form.is_free_text(inner(value));
  }
  [[nodiscard]] std::string schema() const { return form.schema(); }

 private:
  static const Inner& inner(const Value& value) {
    if constexpr (std::same_as<Value, Inner>)
      return value;
    else
      return *value;
  }
};
template <ScalarForm Form>
constexpr IfGiven<Form> if_given(Form form) {
  return {form};
}

// A list of at least one, or the only element itself.
template <ScalarForm Item>
struct OneOrMore {
  using Value = std::vector<typename Item::Value>;
  Item item;
  std::string_view if_empty;

  [[nodiscard]] Parsed<Value> read(std::string_view text) const {
    return item.read(text).map([](auto&& value) { return Value{std::forward<decltype(value)>(value)}; });
  }
  [[nodiscard]] std::string text(const Value& values) const {
    std::string all;
    for (const auto& value : values) all += (all.empty() ? "" : ", ") + item.text(value);
    return all;
  }
  [[nodiscard]] bool is_free_text(const Value&) const { return false; }
  [[nodiscard]] std::string schema() const {
    return R"({"anyOf": [)" + item.schema() + R"(, {"type": "array", "items": )" + item.schema() +
           R"(, "minItems": 1}]})";
  }
};
template <ScalarForm Item>
constexpr OneOrMore<Item> one_or_more(Item item, std::string_view if_empty) {
  return {item, if_empty};
}

struct ListTraits {
  std::string_view word = {};      // may stand for leaving the key out
  std::string_view if_empty = {};  // the complaint about an empty list; none: it may be empty
  unsigned most = 0;               // elements, in schema.json; 0: any number
  bool is_set = false;             // no element twice, in schema.json
};
// A list of scalars.
template <ScalarForm Item>
struct List {
  Item item;
  ListTraits traits;
};
template <ScalarForm Item>
constexpr List<Item> list(Item item, ListTraits traits = {}) {
  return {item, traits};
}

// Sections, whose own keys are kKeys of the member's type. A line: written as {key: value, ...}.
struct Map {};
struct MapIfGiven {};  // std::optional: without the section there is no such thing
struct LineOr {        // std::optional, in a line; the word may stand for leaving it out
  std::string_view word;
};

// A section in a line, and a scalar that may stand for it where only `member` is not as by default.
template <typename S, ScalarForm Form>
struct LineOrOnly {
  typename Form::Value S::*member;
  Form form;

  [[nodiscard]] bool is_given(const S& section) const { return !(section == S{}); }
  [[nodiscard]] bool is_short(const S& section) const {
    S only;
    only.*member = section.*member;
    return only == section;
  }
};
template <typename S, ScalarForm Form>
constexpr LineOrOnly<S, Form> line_or_only(typename Form::Value S::*member, Form form) {
  return {member, form};
}

// A list of scalars, or a word of the enumeration in its place: members of one structure S.
template <typename S, typename E, ScalarForm Item>
struct WordOrList {
  E S::*word;
  std::vector<typename Item::Value> S::*list;
  E listed;  // there is a list; no word of the file stands for it
  Item item;
};

// A map whose keys are names, std::vector<Entry<T>>; the values have the form `value`, a scalar's or a list's.
template <ScalarForm Name, typename Form>
struct Entries {
  Name name;
  Form value;
};
template <ScalarForm Name, typename Form>
constexpr Entries<Name, Form> entries(Name name, Form value) {
  return {name, value};
}

struct Lines {};  // std::vector, each element in a line
struct Blocks {   // std::vector, each element over several lines
  std::string_view if_empty = {};
};

inline constexpr Scalar<bool> kBoolean{boolean, R"({"type": "boolean"})"};
inline constexpr Scalar<ByteSize> kByteSize{byte_size, R"({"type": "string", "pattern": "^[0-9]+[KMGT]$"})"};
inline constexpr Scalar<BitRate> kBitRate{
    bit_rate,
    R"({"anyOf": [{"type": "string", "pattern": "^[0-9]+[KMGT]?$"}, {"type": "integer", "minimum": 8000}]})"};
inline constexpr Scalar<std::chrono::seconds> kTimeout{timeout, R"({"$ref": "#/definitions/duration"})"};

inline constexpr Scalar<net::MacAddr> kMac{unicast_mac, R"({"$ref": "#/definitions/mac"})"};
inline constexpr Scalar<net::Ipv4Addr> kAddress{host_address, R"({"$ref": "#/definitions/address"})"};
inline constexpr Scalar<net::Ipv4Prefix> kPrefix{prefix, R"({"$ref": "#/definitions/prefix"})"};
inline constexpr Scalar<net::Ipv4Prefix> kAddressBlock{
    address_block, R"({"$ref": "#/definitions/address_block"})", false, address_block_text};
inline constexpr Scalar<AddressRange> kAddressRange{address_range,
                                                    R"({"$ref": "#/definitions/address_range"})"};
inline constexpr Scalar<PortRange> kPortRange{port_range, R"({"$ref": "#/definitions/port_range"})"};
inline constexpr Scalar<std::uint16_t> kPortBlock{port_block,
                                                  R"({"enum": [0, 64, 128, 256, 512, 1024, 2048, 4096]})"};
inline constexpr Scalar<LogTarget> kLogTarget{
    log_target, R"({"type": "string", "pattern": "^(json:/.+|syslog(:[^:]+:[0-9]+)?|ipfix:[^:]+:[0-9]+)$"})",
    true};
inline constexpr Scalar<HostService> kHostService{
    host_service, R"({"type": "string", "pattern": "^(tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?$"})"};
inline constexpr Scalar<net::Protocol> kIpProtocol{
    ip_protocol,
    R"({"anyOf": [{"enum": ["tcp", "udp", "icmp"]}, {"type": "integer", "minimum": 0, "maximum": 255}]})"};
inline constexpr Scalar<RuleRemote> kRuleRemote{
    rule_remote,
    R"({"type": "string", "pattern": "^(([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,2})?|(port|network):[A-Za-z0-9][A-Za-z0-9._-]{0,62})$"})",
    true};
inline constexpr Scalar<net::Endpoint> kEndpoint{endpoint, R"({"$ref": "#/definitions/endpoint"})"};
inline constexpr Scalar<net::L4Port> kL4Port{l4_port,
                                             R"({"type": "integer", "minimum": 1, "maximum": 65535})"};

inline constexpr Scalar<std::string> kName{identifier, R"({"$ref": "#/definitions/name"})", true};
inline constexpr Scalar<std::string> kAnyText{any_text, R"({"type": "string", "minLength": 1})", true};
inline constexpr Scalar<std::string> kDevice{device_name, R"({"type": "string", "minLength": 1})", true};
inline constexpr Scalar<std::string> kInterface{
    interface_name, R"({"type": "string", "minLength": 1, "maxLength": 15})", true};
inline constexpr Scalar<std::string> kPath{absolute_path, R"({"type": "string", "pattern": "^/"})", true};
inline constexpr Scalar<std::string> kSocketPath{
    socket_path, R"({"type": "string", "pattern": "^/", "maxLength": 107})", true};
inline constexpr Scalar<std::string> kVhostSocket{
    vhost_socket, R"({"type": "string", "minLength": 1, "maxLength": 107})", true};
inline constexpr Scalar<FileMode> kFileMode{file_mode, R"({"type": "string", "pattern": "^0?[0-7]{3}$"})",
                                            true};

}  // namespace vmnat::config
