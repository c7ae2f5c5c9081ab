"""sbom.py [TARGET]: the software bill of materials of the nuncio binary, as CycloneDX 1.5 JSON on standard output. Made of
`cargo metadata`: every crate that is linked into it or runs while it is built, nothing that only tests use. Same lock
file, same output, but for nothing: there is no time and no random number in it."""

import json
import subprocess
import sys

BINARY = "nuncio"


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def checksums():
    """Of the lock file: a package's checksum by name and version."""
    found, package = {}, {}
    with open("Cargo.lock", encoding="utf-8") as lock:
        for line in lock:
            if line.startswith("[["):
                package = {}
            elif " = " in line:
                key, value = line.rstrip("\n").split(" = ", 1)
                package[key] = value.strip('"')
                if key == "checksum":
                    found[package["name"], package["version"]] = package["checksum"]
    return found


def linked(told):
    """Ids of what the binary needs, each with what it needs itself."""
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    root = next(package["id"] for package in told["packages"] if package["name"] == BINARY)
    needs, waiting = {}, [root]
    while waiting:
        current = waiting.pop()
        if current in needs:
            continue
        deps = [d["pkg"] for d in nodes[current]["deps"] if any(k["kind"] != "dev" for k in d["dep_kinds"])]
        needs[current] = deps
        waiting += deps
    return root, needs


def component(package, sums, kind="library"):
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    made = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package.get("description"):
        made["description"] = " ".join(package["description"].split())
    if package.get("license"):
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in sums:
        made["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
    if package.get("repository"):
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def main(target):
    told = metadata(target)
    packages = {package["id"]: package for package in told["packages"]}
    root, needs = linked(told)
    sums = checksums()
    ref = lambda id: f"pkg:cargo/{packages[id]['name']}@{packages[id]['version']}"
    order = sorted((id for id in needs if id != root), key=ref)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[root], sums, "application")},
        "components": [component(packages[id], sums) for id in order],
        "dependencies": [{"ref": ref(id), "dependsOn": sorted({ref(d) for d in needs[id]})} for id in [root, *order]],
    }
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "x86_64-unknown-linux-gnu")
