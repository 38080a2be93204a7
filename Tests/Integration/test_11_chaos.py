"""Goal: after any run of edits and crashes the client holds exactly what the files say, without help.

Method: a seeded run of writes, removals, renames and kill -9 of the upper tiers, then quiet; the state of a
client of each dialect at the edge is compared with the manifests, read by an implementation that is not ours.
The seed is in the test's name; MESHRELAY_SEED replays another one.
"""

import os
import random
import time

import pytest
from harness import bodies
from harness.tiers import build_tiers, start_all
from harness.waiting import eventually
from test_03_changes import TYPE_URL, hosts_of, virtual_service

SEEDS = [int(os.environ["MESHRELAY_SEED"])] if "MESHRELAY_SEED" in os.environ else [1, 2]


@pytest.fixture
def tiers(folder):
    """Without a brake: so much is removed here that it would hold everything."""
    return start_all(build_tiers(folder, brake={"removes": "100%"}))


def edit(rng, folder):
    """One thing that somebody does to a file."""
    path = folder / f"file-{rng.randrange(6)}.yaml"
    names = rng.sample(range(12), rng.randrange(1, 4))
    text = "---\n".join(virtual_service(f"vs-{name}", f"{rng.randrange(1000)}.example.org") for name in names)
    action = rng.choice(["write", "write", "rename", "remove", "half"])
    if action == "write":
        path.write_text(text)
    elif action == "rename":
        fresh = folder / f".{path.name}.tmp"
        fresh.write_text(text)
        fresh.rename(path)
    elif action == "remove":
        path.unlink(missing_ok=True)
    else:
        with open(path, "w") as file:
            file.write(text[:len(text) // 2])
            file.flush()
            time.sleep(0.05)
            file.write(text[len(text) // 2:])


def expected_hosts(folder):
    """{name: host} of every VirtualService that is in exactly one file; a name in two files may be either."""
    found = {}
    for path in folder.glob("*.yaml"):
        for (kind, name), manifest in bodies.read_manifests_of(path).items():
            if kind == "VirtualService":
                found.setdefault(name, set()).add(manifest["spec"]["hosts"][0])
    return found


def matches(hosts, expected):
    return hosts.keys() == expected.keys() and all(hosts[name] in expected[name] for name in expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_converges(tiers, seed):
    rng = random.Random(seed)
    folder = tiers.manifests / "chaos"
    folder.mkdir()
    for path in tiers.manifests.glob("*/*"):
        if path.parent != folder:
            path.unlink()
    with tiers.client("all") as whole, tiers.delta_client() as delta:
        whole.subscribe(TYPE_URL)
        delta.subscribe(TYPE_URL)
        for _ in range(60):
            edit(rng, folder)
            time.sleep(rng.random() * 0.15)
            if rng.random() < 0.06:
                victim = rng.choice([tiers.origin, tiers.region])
                victim.kill()
                time.sleep(rng.random() * 0.5)
                victim.start(ready=False)
        expected = expected_hosts(folder)
        eventually(
            lambda: hosts_of(whole.of_type(TYPE_URL)[-1]), lambda hosts: matches(hosts, expected), 20,
            f"seed {seed}: the client converges to {expected}")
        held = eventually(
            lambda: delta.state(TYPE_URL), lambda held: held.keys() == expected.keys(), 5, f"seed {seed}: delta")
        last = bodies.envelopes(whole.of_type(TYPE_URL)[-1])
        assert held == {name: resource.metadata.version for name, resource in last.items()}
        assert whole.end_state is None and delta.end_state is None
    eventually(
        lambda: {relay.status["snapshot"]["version"] for relay in tiers.relays}, lambda found: len(found) == 1, 10,
        f"seed {seed}: equal versions on every tier")
