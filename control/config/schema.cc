// SPDX-License-Identifier: Apache-2.0
// schema.json: a section is an object with a property for each row, described by the row's sentence and form.
#include <nlohmann/json.hpp>

#include "control/config/config_files.h"
#include "control/config/keys_network.h"

namespace vmnat::config {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDefinitions = R"({
  "name": {"description": "Unique; letters, digits, -, _ and .", "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
  "mac": {"description": "MAC address.", "type": "string", "pattern": "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"},
  "address": {"description": "IPv4 address.", "type": "string", "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}$"},
  "prefix": {"description": "IPv4 address with prefix length.", "type": "string",
    "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}/[0-9]{1,2}$"},
  "address_block": {"description": "An IPv4 address, or all that a prefix has.", "type": "string",
    "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,2})?$"},
  "address_range": {"description": "An address, or a-b.", "type": "string",
    "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}(-([0-9]{1,3}\\.){3}[0-9]{1,3})?$"},
  "port_range": {"description": "A port, or a-b.", "anyOf": [
    {"type": "integer", "minimum": 1, "maximum": 65535},
    {"type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$"}]},
  "endpoint": {"description": "IPv4 address and port.", "type": "string",
    "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}:[0-9]{1,5}$"},
  "duration": {"description": "Such as 90s, 5m or 2h4m.", "type": "string",
    "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2}
})";

template <typename S>
Json section_schema(bool may_be_empty = false);

Json word_or(std::string_view word, Json schema) {
  if (word.empty()) return schema;
  return {{"anyOf", {{{"const", word}}, std::move(schema)}}};
}

// {"anyOf": [a, {"anyOf": [b, c]}]}, of a word beside a word, is {"anyOf": [a, b, c]}.
Json flattened(const Json& schema) {
  if (!schema.contains("anyOf")) return schema;
  Json all = Json::array();
  for (const Json& alternative : schema["anyOf"]) {
    const Json inner = flattened(alternative);
    if (inner.contains("anyOf"))
      all.insert(all.end(), inner["anyOf"].begin(), inner["anyOf"].end());
    else
      all.push_back(inner);
  }
  return {{"anyOf", all}};
}

template <typename T, ScalarForm Form>
Json schema_of(const Form& form) {
  return flattened(Json::parse(form.schema()));
}

template <typename T, typename Item>
Json schema_of(const List<Item>& form) {
  Json schema{{"type", "array"}, {"items", schema_of<typename Item::Value>(form.item)}};
  if (!form.traits.if_empty.empty()) schema["minItems"] = 1;
  if (form.traits.most != 0) schema["maxItems"] = form.traits.most;
  if (form.traits.is_set) schema["uniqueItems"] = true;
  return word_or(form.traits.word, std::move(schema));
}

template <typename T, typename S, typename E, typename Item>
Json schema_of(const WordOrList<S, E, Item>& form) {
  return {{"anyOf", {Json::parse(OneOf<E>{}.schema()), schema_of<T>(List<Item>{form.item, {}})}}};
}
template <typename T, typename Name, typename Form>
Json schema_of(const Entries<Name, Form>& form) {
  using Value = decltype(T::value_type::value);
  return {{"type", "object"}, {"additionalProperties", schema_of<Value>(form.value)}};
}

template <typename T>
Json schema_of(Map) {
  return section_schema<T>(true);
}
template <typename T>
Json schema_of(MapIfGiven) {
  return section_schema<typename T::value_type>(true);
}
template <typename T>
Json schema_of(LineOr form) {
  return word_or(form.word, section_schema<typename T::value_type>());
}
template <typename T, typename Form>
Json schema_of(const LineOrOnly<T, Form>& form) {
  return {{"anyOf", {schema_of<typename Form::Value>(form.form), section_schema<T>()}}};
}
template <typename T>
Json schema_of(Lines) {
  return {{"type", "array"}, {"items", section_schema<typename T::value_type>()}};
}
template <typename T>
Json schema_of(Blocks) {
  return {{"type", "array"}, {"items", section_schema<typename T::value_type>()}, {"minItems", 1}};
}

// A scalar of YAML as JSON has it.
Json literal(const std::string& text) {
  const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return is_number || text == "true" || text == "false" ? Json::parse(text) : Json(text);
}

// The default, or nothing where there is none that could be shown.
template <typename T, ScalarForm Form>
Json default_of(const Form& form, const T& value) {
  if constexpr (requires { form.is_given(value); })
    return nullptr;
  else
    return form.is_free_text(value) ? Json(form.text(value)) : literal(form.text(value));
}
template <typename T, typename Item>
Json default_of(const List<Item>& form, const T&) {
  return form.traits.word.empty() ? Json::array() : Json(form.traits.word);
}
template <typename T>
Json default_of(LineOr form, const T&) {
  return form.word;
}
template <typename T>
Json default_of(Lines, const T&) {
  return Json::array();
}
template <typename T>
Json default_of(const auto&, const T&) {
  return nullptr;
}

template <typename S, typename T, typename Form>
void add(Json& section, const Key<S, T, Form>& key) {
  Json schema{{"description", key.says}};
  schema.update(schema_of<T>(key.form));
  if (std::is_same_v<Form, Map> && schema.contains("required"))
    schema["type"] = "object";  // left empty it would lack what it requires
  if (key.traits.is_required) {
    section["required"].push_back(key.name);
  } else if (const Json value = default_of(key.form, defaults<S>().*key.member);
             !value.is_null() && !key.traits.default_varies) {
    schema["default"] = value;
  }
  section["properties"][std::string{key.name}] = std::move(schema);
}

template <typename S>
Json section_schema(bool may_be_empty) {
  Json section;
  section["type"] = may_be_empty ? Json{"object", "null"} : Json("object");
  section["additionalProperties"] = false;
  section["properties"] = Json::object();
  for_each_key<S>([&](const auto& key) { add(section, key); });
  if (section.contains("required")) {  // after the properties, as one reads it
    const Json required = section["required"];
    section.erase("required");
    section["required"] = required;
  }
  if constexpr (!kExactlyOne<S>.first.empty())
    section["oneOf"] = {{{"required", {kExactlyOne<S>.first}}}, {{"required", {kExactlyOne<S>.second}}}};
  return section;
}

}  // namespace

std::string schema_json() {
  Json schema{
      {"$schema", "http://json-schema.org/draft-07/schema#"},
      {"$id", "vmnat.schema.json"},
      {"title", "vmnat configuration"},
      {"description",
       "Configuration of vmnatd, see vmnat.yaml(5). Checks between values are made by vmnatd --check."}};
  schema.update(section_schema<Config>());
  schema["definitions"] = Json::parse(kDefinitions);
  return schema.dump(2) + '\n';
}

}  // namespace vmnat::config
