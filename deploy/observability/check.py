"""check.py ROOT: what promtool does not know of the rules and the dashboard. Every metric they ask for exists, every
query of the dashboard parses, and every alert has a section in docs/runbooks.md. Prints what is wrong."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

ASKED = re.compile(r"\b(?:nuncio|process)_[a-z_]+\b")
# Of a histogram, Prometheus has three series.
SERIES = re.compile(r"_(?:bucket|sum|count)$")


def known(root):
    """The documented metrics, and those of the process itself."""
    texts = [root / "docs/metrics.md", root / "crates/runtime/src/process.rs"]
    return {name for text in texts for name in ASKED.findall(text.read_text())}


def targets(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*")


def parses(queries):
    """Queries as recording rules, which is the form that promtool reads."""
    rules = [{"record": "query:parses", "expr": query, "labels": {"nth": str(nth)}} for nth, query in enumerate(queries)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        told = subprocess.run(["promtool", "check", "rules", file.name], text=True, capture_output=True, check=False)
    return [] if told.returncode == 0 else [told.stdout + told.stderr]


def main(root):
    root = pathlib.Path(root)
    here = root / "deploy/observability"
    problems = []
    names = known(root)
    dashboard = json.loads((here / "dashboard.json").read_text())
    rules = (here / "alerts.yaml").read_text()
    queries = list(targets(dashboard))
    asked = {"the alerts": rules, **{title: query for title, query in queries}}
    for where, text in asked.items():
        for name in ASKED.findall(text):
            if name not in names and SERIES.sub("", name) not in names:
                problems.append(f"{where}: there is no metric {name}")
    problems += parses(query for _, query in queries)
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        problems.append("the dashboard has two panels of one id")
    runbooks = (root / "docs/runbooks.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    for alert in alerts:
        if f"\n## {alert}\n" not in runbooks:
            problems.append(f"docs/runbooks.md has no section {alert}")
        if f"runbook_url: docs/runbooks.md#{alert.lower()}\n" not in rules:
            problems.append(f"{alert} does not link to its section")
        if f"- name: {alert} fires\n" not in (here / "alerts.test.yaml").read_text():
            problems.append(f"{alert} has no test")
    for section in re.findall(r"^## (Nuncio\w+)$", runbooks, re.M):
        if section not in alerts:
            problems.append(f"docs/runbooks.md: there is no alert {section}")
    return problems


if __name__ == "__main__":
    found = main(sys.argv[1])
    print("\n".join(found))
    sys.exit(1 if found else 0)
