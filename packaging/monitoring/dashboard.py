"""Reads the dashboard as Grafana's own types do, and prints its queries as rules for promtool.

usage: dashboard.py DASHBOARD
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(own, read, place=""):
    """What Grafana's types do not know, or take for something else."""
    if isinstance(own, dict) and isinstance(read, dict):
        for key, value in own.items():
            yield from lost(value, read.get(key), f"{place}/{key}")
    elif isinstance(own, list) and isinstance(read, list) and len(own) == len(read):
        for number, both in enumerate(zip(own, read)):
            yield from lost(*both, f"{place}/{number}")
    elif own != read:
        yield place


text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
own = json.loads(text)
unknown = list(lost(own, json.loads(JSONEncoder().encode(Dashboard.from_json(own)))))
if unknown:
    sys.exit(f"{sys.argv[1]}: not known to Grafana: {', '.join(unknown)}")
queries = [target["expr"] for panel in own["panels"] for target in panel.get("targets", [])]
rules = [
    {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
    for number, query in enumerate(queries)
]
# YAML reads JSON.
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
