#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""configs/schema.json as editors use it: what it accepts, what it refuses, and that it names reference.yaml's keys.

Needs python3-yaml and python3-jsonschema; exits 77 (skipped) without.
Usage: schema_test.py CONFIGS_DIR
"""
import copy
import json
import pathlib
import re
import sys

try:
    import jsonschema
    import yaml
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

CONFIGS = pathlib.Path(sys.argv[1])
SCHEMA = json.loads((CONFIGS / "schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


class Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2's plain values, as yaml-cpp and editors have them: "off" and "52:54:00:00:00:01" are text."""


Yaml12Loader.yaml_implicit_resolvers = {}
Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^[0-9]+$"), list("0123456789"))
Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(~|null|)$"), ["~", "n", ""])


def load(text):
    return yaml.load(text, Loader=Yaml12Loader)


def with_examples(text):
    return re.sub(r": [^\n#]*#: ", ": ", text)


def keys_of_document(node, maps, path=""):
    """Every key as "networks[].ports[].name". Those in `maps` are names of the user's own."""
    if isinstance(node, list):
        return {key for item in node for key in keys_of_document(item, maps, path + "[]")}
    if not isinstance(node, dict) or path in maps:
        return set()
    keys = set()
    for name, value in node.items():
        inner = f"{path}.{name}" if path else name
        keys |= {inner} | keys_of_document(value, maps, inner)
    return keys


def keys_of_schema(schema, path=""):
    keys = set()
    for alternative in schema.get("anyOf", []):
        keys |= keys_of_schema(alternative, path)
    for name, inner_schema in schema.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        keys |= {inner} | keys_of_schema(inner_schema, inner)
    if "items" in schema:
        keys |= keys_of_schema(schema["items"], path + "[]")
    return keys


def maps_of_schema(schema, path=""):
    """The paths of maps whose keys are names of the user's own."""
    maps = {path} if isinstance(schema.get("additionalProperties"), dict) else set()
    for alternative in schema.get("anyOf", []):
        maps |= maps_of_schema(alternative, path)
    for name, inner_schema in schema.get("properties", {}).items():
        maps |= maps_of_schema(inner_schema, f"{path}.{name}" if path else name)
    return maps | (maps_of_schema(schema["items"], path + "[]") if "items" in schema else set())


def defaults_of_schema(schema, path=""):
    defaults = {path: schema["default"]} if "default" in schema else {}
    for name, inner_schema in schema.get("properties", {}).items():
        defaults |= defaults_of_schema(inner_schema, f"{path}.{name}" if path else name)
    return defaults | (defaults_of_schema(schema["items"], path + "[0]") if "items" in schema else {})


def value_at(document, path):
    for step in re.findall(r"[^.\[\]]+", path):
        document = document[int(step)] if step.isdigit() else document[step]
    return document


def check(condition, says):
    if not condition:
        print(f"FAILED: {says}")
        sys.exit(1)
    print(f"ok: {says}")


def check_refused(change, says):
    document = copy.deepcopy(load((CONFIGS / "two-networks.yaml").read_text()))
    change(document)
    check(not VALIDATOR.is_valid(document), f"the schema refuses {says}")


def main():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    files = sorted(CONFIGS.glob("*.yaml"))
    check(len(files) >= 4, "there are configurations to check")
    for file in files:
        errors = [f"{'/'.join(map(str, e.path))}: {e.message}" for e in VALIDATOR.iter_errors(load(file.read_text()))]
        check(not errors, f"{file.name} is valid {errors}")

    reference = (CONFIGS / "reference.yaml").read_text()
    examples = load(with_examples(reference))
    errors = [f"{'/'.join(map(str, e.path))}: {e.message}" for e in VALIDATOR.iter_errors(examples)]
    check(not errors, f"reference.yaml with its examples is valid {errors}")
    shown_at_a_port = {f"uplink.device.{key}" for key in ("interface", "driver", "vlan")}
    at_a_networks_limit = re.compile(r"^(uplink\.limit|networks\[\]\.(shared_limit|ports\[\]\.limit))\.")
    at_an_uplink = re.compile(r"^uplinks\[\]\.")  # as those of the only one, instead of which they stand
    keys = {key for key in keys_of_schema(SCHEMA) - shown_at_a_port
            if not at_a_networks_limit.match(key) and not at_an_uplink.match(key)}
    shown = {key for key in keys_of_document(examples, maps_of_schema(SCHEMA)) if not at_a_networks_limit.match(key)}
    difference = shown ^ keys
    check(not difference, f"schema and reference name the same keys {difference}")

    defaults = defaults_of_schema(SCHEMA)
    check(len(defaults) > 20, "the schema names defaults")
    for path, default in defaults.items():
        if path.startswith("uplinks[0]."):
            continue
        document = examples if path.count("[0]") > 1 else load(reference)  # a list within the network: as its example
        if path == "networks[0].ports[0].vlan":  # of ports with a device; the example's first one has a socket
            continue
        if ".rules[0]." in path:  # conditions: a rule with none of them is no example
            continue
        shown = value_at(document, path)
        is_list_with_elements = document is examples and default == [] and shown  # they show their own keys
        check(is_list_with_elements or shown == default, f"default of {path} is {default!r}")

    check_refused(lambda d: d.update(firewall={}), "an unknown section")
    check_refused(lambda d: d["uplink"].pop("device"), "an uplink without device")
    check_refused(lambda d: d["uplink"].update(device={"driver": "xdp"}), "a driver without an interface")
    check_refused(lambda d: d["uplink"].update(device={"interface": "eth0", "driver": "tap"}), "an unknown driver")
    check_refused(lambda d: d["uplink"].update(mtu=67), "a small MTU")
    check_refused(lambda d: d.update(uplinks=[d.pop("uplink")]), "an uplink of several without a name")
    check_refused(lambda d: d["networks"][0]["ports"][0].update(device="veth0"), "a port with socket and device")
    check_refused(lambda d: d["networks"][0].update(forward="routed"), "an unknown forward mode")
    check_refused(lambda d: d["networks"][1]["dhcp"].update(lease_time="30"), "a duration without a unit")


main()
