"""Ask for everything about an experiment in one request: runs, metrics, series, logs, versions and endpoints.

AXONML_URL=http://127.0.0.1:3000 AXONML_API_KEY=axk_... python examples/query_everything.py Digits
"""

from __future__ import annotations

import argparse
import json
import os
import sys

import httpx

QUERY = """
query Everything($experiment: String!) {
  viewer { email name role }
  experiment(name: $experiment) {
    name
    number
    runs(first: 5, orderBy: [{field: "metrics.accuracy", direction: DESC}]) {
      totalCount
      nodes {
        name
        status
        durationSeconds
        owner { name }
        params { key value }
        metrics(keys: ["loss", "accuracy"]) { key last lastStep min max count }
        series(keys: ["loss"], points: 8) { key steps values min max downsampled }
        logs(first: 3) { nodes { level message } }
        modelVersions {
          nodes {
            version
            servable
            file { sizeBytes sha256 format parameterCount }
            model { name latestVersion { version } }
            endpoints { nodes { name status traffic { weight version { version run { name } } } } }
          }
        }
      }
    }
  }
}
"""


def main() -> None:
    """Sends the request and prints the answer."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("experiment", nargs="?", default="Digits")
    options.add_argument("--url", default=os.environ.get("AXONML_URL", "http://127.0.0.1:3000"))
    options.add_argument("--api-key", default=os.environ.get("AXONML_API_KEY"))
    given = options.parse_args()
    if not given.api_key:
        sys.exit("set AXONML_API_KEY (POST /api/auth/keys or the apiKeyCreate mutation makes one)")
    answer = httpx.post(
        f"{given.url}/graphql",
        json={"query": QUERY, "variables": {"experiment": given.experiment}},
        headers={"Authorization": f"Bearer {given.api_key}"},
        timeout=60,
        trust_env=False,
    )
    document = answer.json()
    print(json.dumps(document, indent=2, ensure_ascii=False))
    if "errors" in document or document["data"]["experiment"] is None:
        sys.exit(1)


if __name__ == "__main__":
    main()
