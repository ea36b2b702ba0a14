#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# openapi.json is OpenAPI 3.0.3 in itself, and describes the routes that the sources add: all of them, and no others.
set -euo pipefail
. "$(dirname "$0")/../cli/lib.sh"
command -v python3 >/dev/null || skip "needs python3"
python3 -W ignore - "$root/tools/server" <<'PYTHON'
import glob
import json
import re
import sys

folder = sys.argv[1]


def no_repeats(pairs):
    out = dict(pairs)
    assert len(out) == len(pairs), "repeated key: %s" % [k for k, _ in pairs]
    return out


with open(folder + "/web/openapi.json", encoding="utf-8") as f:
    doc = json.load(f, object_pairs_hook=no_repeats)
assert doc["openapi"] == "3.0.3"

# Routes in the sources: "GET", "/v2/models/{}", in calls and in tables. The page's own files need no description.
routes = set()
for path in glob.glob(folder + "/*.c"):
    with open(path, encoding="utf-8") as f:
        routes |= set(re.findall(r'"(GET|POST|PUT|DELETE|PATCH)",\s*"(/[^"]*)"', f.read()))
routes -= {("GET", "/"), ("GET", "/v2/")}  # the latter is /v2
assert len(routes) > 30, routes
verbs = ("get", "post", "put", "delete", "patch")
described = {(v.upper(), re.sub(r"\{[^}]*\}", "{}", p)) for p, item in doc["paths"].items() for v in item if v in verbs}
assert routes == described, "not described: %s, not there: %s" % (sorted(routes - described), sorted(described - routes))

ids, used = set(), set()


def walk(value, where):
    if isinstance(value, list):
        for i, item in enumerate(value):
            walk(item, "%s[%d]" % (where, i))
    elif isinstance(value, dict):
        if "$ref" in value:
            assert len(value) == 1, where
            target = doc
            for part in value["$ref"][2:].split("/"):
                target = target[part]
            used.add(value["$ref"])
        if value.get("type") == "array":
            assert "items" in value, where
        for name in value.get("required", []) if isinstance(value.get("required"), list) else []:
            assert name in value["properties"], (where, name)
        for key, item in value.items():
            walk(item, where + "/" + key)


walk(doc, "")
for kind in ("schemas", "responses"):
    for name in doc["components"][kind]:
        assert "#/components/%s/%s" % (kind, name) in used, name + " is never used"
tags = {t["name"] for t in doc["tags"]}
for path, item in doc["paths"].items():
    for verb, op in item.items():
        where = verb + " " + path
        assert op["operationId"] not in ids, where
        ids.add(op["operationId"])
        assert set(op["tags"]) <= tags and op["summary"], where
        assert any(code.startswith("2") for code in op["responses"]), where
        given = [p["name"] for p in op.get("parameters", []) if p["in"] == "path"]
        assert given == re.findall(r"\{([^}]*)\}", path), where
        assert verb == "get" or "security" in op or "403" in op["responses"], where
try:
    from openapi_spec_validator import validate_spec
except ImportError:
    print("openapi-spec-validator is not installed: form checked by this test alone")
else:
    validate_spec(doc)
print("%d routes" % len(routes))
PYTHON
echo PASS
