"""links.py ROOT FILE...: every link of these Markdown files to a file of the repository, or to a heading of one, leads
somewhere. Links to elsewhere are not followed. Prints those that lead nowhere."""

import pathlib
import re
import sys

FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:")


def anchors(text):
    """The names of headings as forges make them."""
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", FENCE.sub("", text), re.M):
        plain = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def main(root, *files):
    problems = []
    for name in files:
        file = pathlib.Path(root) / name
        for link in LINK.findall(FENCE.sub("", file.read_text())):
            if ELSEWHERE.match(link):
                continue
            path, _, anchor = link.partition("#")
            target = (file.parent / path) if path else file
            if not target.exists():
                problems.append(f"{name}: {link}: there is no such file")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
                problems.append(f"{name}: {link}: there is no such heading")
    return problems


if __name__ == "__main__":
    found = main(*sys.argv[1:])
    print("\n".join(found))
    sys.exit(1 if found else 0)
