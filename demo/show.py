#!/usr/bin/env python3
"""Reads what `meshrelay subscribe` prints and says what changed, for people. Standard library only.

usage: meshrelay subscribe … | demo/show.py NAME EDIT_FILE
EDIT_FILE's modification time is when somebody last edited a manifest: a change is shown with the time it
took from there.
"""

import json
import os
import sys
import time


def kind(type_url):
    return type_url.rpartition("/")[2]


def first_answer(reply, resources):
    """One line a type: how many, and their names by namespace."""
    by_namespace = {}
    for name in sorted(resources):
        namespace, _, short = name.rpartition("/")
        by_namespace.setdefault(namespace, []).append(short)
    names = "  ".join(f"{namespace}/{{{','.join(short)}}}" for namespace, short in by_namespace.items())
    return [f"{kind(reply['type']):<22} {len(resources):>3}  {names}"] if resources else []


def changes(reply, before, after):
    """One line a resource that came, went or changed."""
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"- {kind(reply['type'])} {name} is gone"
        elif name not in before:
            yield f"+ {kind(reply['type'])} {name} is new, version {after[name][:8]}"
        elif before[name] != after[name]:
            yield f"~ {kind(reply['type'])} {name} changed, version {before[name][:8]} -> {after[name][:8]}"


def main():
    client, edit_file = sys.argv[1:]
    held = {}
    for line in sys.stdin:
        came = time.time()
        reply = json.loads(line)
        resources = {resource["name"]: resource["version"] for resource in reply["resources"]}
        if reply["type"] in held:
            taken = (came - os.stat(edit_file).st_mtime) * 1000
            found = changes(reply, held[reply["type"]], resources)
            lines = [f"{text}  ({taken:.0f} ms after the edit)" for text in found]
        else:
            lines = first_answer(reply, resources)
        held[reply["type"]] = resources
        for text in lines:
            print(f"   {client} | {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
