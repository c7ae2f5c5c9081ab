"""manifests.py ROOT NODE_DIRECTORY OVERLAY.yaml...: what built overlays must keep to beside the schemas of Kubernetes,
which kubernetes-validate knows. Custom resources by their own schemas, and the promises that these manifests make."""

import ipaddress
import json
import pathlib
import re
import subprocess
import sys

import jsonschema
import yaml

ROLES = ("api", "router", "sender")
# Of the messaging topology operator; nobody publishes their schemas where this could get at them.
UNCHECKED = {"User", "Permission"}
SETTINGS = re.compile(r"^\| `(NUNCIO_[A-Z_]+)` \| `?([^`|]*)`? \|", re.M)
# How long shared services may take to flush after the shutdown deadline.
FLUSH_SECONDS = 6

problems = []


def expect(truth, what):
    if not truth:
        problems.append(what)


def strict(schema):
    """The schema of a CRD as JSON schema that refuses unknown fields, as the server does with --validate=strict."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key != "format"}
    if schema.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
    closed = isinstance(schema.get("properties"), dict) and "type" in schema
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made


def rabbitmq_clusters(overlay, resources, crd):
    schema = strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    # The schema names metadata and says no more of it.
    schema["properties"]["metadata"] = {"type": "object"}
    validator = jsonschema.Draft202012Validator(schema)
    for resource in resources:
        if resource["kind"] == "RabbitmqCluster":
            for error in validator.iter_errors(resource):
                problems.append(f"{overlay}: RabbitmqCluster: {error.json_path}: {error.message}")
            config = resource["spec"]["rabbitmq"].get("advancedConfig", "")
            expect("{dead_letter_worker_publisher_confirm_timeout,5000}" in config, f"{overlay}: late retries: {config!r}")


def custom(overlay, resources, here, node):
    foreign = [r for r in resources if "." in r["apiVersion"].split("/")[0] and "k8s.io" not in r["apiVersion"]]
    foreign = [r for r in foreign if r["kind"] != "RabbitmqCluster"]
    command = ["node", str(here / "custom.mjs"), node]
    told = subprocess.run(command, input=json.dumps(foreign), text=True, capture_output=True, check=True).stdout
    lines = told.splitlines()
    expect(len(lines) == len(foreign), f"{overlay}: {len(lines)} answers for {len(foreign)} custom resources")
    for line in lines:
        verdict, kind, _ = line.split(" ", 2)
        expect(verdict == "ok" or (verdict == "unknown" and kind in UNCHECKED), f"{overlay}: {line}")


def seconds(text):
    value, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(value) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def deployments(overlay, resources, settings):
    named = {(r["kind"], r["metadata"]["name"]): r for r in resources}
    shared = named["ConfigMap", "nuncio-settings"]["data"]
    used = set(shared)
    for role in ROLES:
        where = f"{overlay}: nuncio-{role}"
        pod = named["Deployment", f"nuncio-{role}"]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        expect(container["args"] == [role], f"{where}: args {container['args']}")
        expect(pod["enableServiceLinks"] is False, f"{where}: service links would be unknown NUNCIO_ keys")
        expect(pod["serviceAccountName"] == f"nuncio-{role}", f"{where}: a service account of its own")
        expect(pod["automountServiceAccountToken"] is False, f"{where}: no token of the cluster's API")
        expect(pod["securityContext"]["runAsNonRoot"] is True, f"{where}: non-root")
        expect(container["securityContext"]["readOnlyRootFilesystem"] is True, f"{where}: read-only root")
        expect(container["resources"]["limits"].get("memory"), f"{where}: a memory limit")
        expect(len(pod["topologySpreadConstraints"]) == 2, f"{where}: spread over nodes and zones")
        expect(container["readinessProbe"]["httpGet"]["path"] == "/readyz", f"{where}: readiness")
        expect(container["livenessProbe"]["httpGet"]["path"] == "/livez", f"{where}: liveness")
        expect(("PodDisruptionBudget", f"nuncio-{role}") in named, f"{where}: a disruption budget")
        setting = lambda key: seconds(shared.get(key, settings[key]))
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        least = sleep + setting("NUNCIO_SHUTDOWN_DEADLINE") + FLUSH_SECONDS
        grace = pod["terminationGracePeriodSeconds"]
        expect(grace > max(least, setting("NUNCIO_REQUEST_TIMEOUT")), f"{where}: {grace} s of grace, {least} s needed")
        used |= {entry["name"] for entry in container["env"]}
        for entry in container["env"]:
            secret = entry.get("valueFrom", {}).get("secretKeyRef")
            if secret:
                expect(secret["name"] == f"nuncio-{role}", f"{where}: {entry['name']} is of another role's secret")
                expect(secret["key"] in named["Secret", secret["name"]]["stringData"], f"{where}: no {secret['key']}")
            else:
                expect("SECRET" not in entry["name"], f"{where}: {entry['name']} is not of a Secret")
        keyed = "token-secret" in named["Secret", f"nuncio-{role}"]["stringData"]
        expect(keyed == (role == "api"), f"{where}: only the API knows the tokens' key")
    unknown = {key for key in used if key.startswith("NUNCIO_")} - set(settings)
    expect(not unknown, f"{overlay}: not keys of the configuration: {sorted(unknown)}")


def senders_cannot_dial(overlay, resources):
    """No policy that selects senders lets them at the cluster's networks or at metadata services by address."""
    reach = [r for r in resources if r["kind"] == "NetworkPolicy" and r["metadata"]["name"] == "nuncio-sender-to-endpoints"]
    blocks = [peer["ipBlock"] for rule in reach[0]["spec"]["egress"] for peer in rule["to"]]
    inside = ["10.0.0.1", "172.20.0.1", "192.168.1.1", "100.100.100.200", "169.254.169.254", "127.0.0.1"]
    for text in [*inside, "fd00:ec2::254", "fe80::1", "::1", "::ffff:10.0.0.1"]:
        address = ipaddress.ip_address(text)
        for block in blocks:
            network = ipaddress.ip_network(block["cidr"])
            if address.version == network.version and address in network:
                spared = any(address in ipaddress.ip_network(net) for net in block.get("except", []))
                expect(spared, f"{overlay}: senders may dial {text}")


def secrets_stay_in_secrets(overlay, resources, values):
    for key in (key for key in values if key.endswith(("PASSWORD", "SECRET", "REDIS_URL"))):
        if values[key] == "guest":
            continue
        found = {r["kind"] for r in resources if values[key] in json.dumps(r)}
        expect(found == {"Secret"}, f"{overlay}: {key} of values.env is in {sorted(found)}")
    expect("from values.env" not in json.dumps(resources), f"{overlay}: something is not filled in")
    expect("from.values.env" not in json.dumps(resources), f"{overlay}: something is not filled in")


def rights_are_those_that_were_tried(overlay, resources, root):
    definitions = json.loads((root / "deploy/rabbitmq/definitions.json").read_text())
    names = ("configure", "write", "read")
    tried = {p["user"]: {name: p[name] for name in names} for p in definitions["permissions"]}
    written = {
        r["spec"]["userReference"]["name"]: r["spec"]["permissions"] for r in resources if r["kind"] == "Permission"
    }
    if written:
        expect(written == tried, f"{overlay}: permissions differ from deploy/rabbitmq/definitions.json")
        users = {r["metadata"]["name"] for r in resources if r["kind"] == "User"}
        expect(users == set(tried), f"{overlay}: users {sorted(users)}")


def rules_are_those_that_were_tried(overlay, resources, root):
    for resource in resources:
        if resource["kind"] == "PrometheusRule":
            tried = yaml.safe_load((root / "deploy/observability/alerts.yaml").read_text())
            expect(resource["spec"] == tried, f"{overlay}: the rules differ from deploy/observability/alerts.yaml")


def compose(root, settings):
    """What compose.yaml says of Nuncio holds, as far as can be told without an engine."""
    services = yaml.safe_load((root / "deploy/docker/compose.yaml").read_text())["services"]
    for role in ROLES:
        service = services[role]
        expect(service["command"] == [role], f"compose.yaml: {role}: command {service['command']}")
        expect(service["read_only"] and service["cap_drop"] == ["ALL"], f"compose.yaml: {role}: too many rights")
        unknown = set(service["environment"]) - set(settings)
        expect(not unknown, f"compose.yaml: {role}: not keys of the configuration: {sorted(unknown)}")
        grace = seconds(service["stop_grace_period"])
        expect(grace > seconds(settings["NUNCIO_SHUTDOWN_DEADLINE"]) + FLUSH_SECONDS, f"compose.yaml: {role}: {grace} s")
        missing = set(service["depends_on"]) - set(services)
        expect(not missing, f"compose.yaml: {role}: depends on {sorted(missing)}")


def main(root, node, *overlays):
    root = pathlib.Path(root)
    here = root / "deploy/kubernetes/validate"
    crd = yaml.load((here / "vendor/rabbitmqcluster-crd.yaml").read_text(), Loader=yaml.CSafeLoader)
    settings = dict(SETTINGS.findall((root / "README.md").read_text()))
    compose(root, settings)
    for built in map(pathlib.Path, overlays):
        overlay = built.stem
        resources = list(yaml.load_all(built.read_text(), Loader=yaml.CSafeLoader))
        source = "dev" if overlay == "dev" else "production"
        example = root / f"deploy/kubernetes/overlays/{source}/values.env.example"
        lines = [line for line in example.read_text().splitlines() if line and not line.startswith("#")]
        values = dict(line.split("=", 1) for line in lines)
        used = set(re.findall(r"fieldPath: data\.(\w+)", (example.parent / "kustomization.yaml").read_text()))
        expect(set(values) == used, f"{overlay}: values.env.example and replacements: {sorted(set(values) ^ used)}")
        rabbitmq_clusters(overlay, resources, crd)
        custom(overlay, resources, here, node)
        deployments(overlay, resources, settings)
        senders_cannot_dial(overlay, resources)
        secrets_stay_in_secrets(overlay, resources, values)
        rights_are_those_that_were_tried(overlay, resources, root)
        rules_are_those_that_were_tried(overlay, resources, root)
    unchecked = ", ".join(sorted(UNCHECKED))
    print(f"{len(overlays)} overlays; by no schema: {unchecked} (rabbitmq.com)")
    return problems


if __name__ == "__main__":
    print("\n".join(main(*sys.argv[1:])))
    sys.exit(1 if problems else 0)
