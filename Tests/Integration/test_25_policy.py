"""Goal: a policy can be tried before it counts, hides what it should on every tier, and is told where it asks for more
than the tier above grants; pipelines learn from exit codes what an edit would change.

Method: real relays in a chain, clients that are not ours, and the program's own commands.
"""

import copy
import json

import pytest
import yaml
from harness.relay import Relay, run
from harness.tiers import edge_policy, relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import virtual_service

VIRTUAL_SERVICE = "networking.istio.io/VirtualService"
SHOP = "spiffe://example.org/cluster/shop/istiod"


def ask(relay, *arguments, code=0):
    """Runs a command against a relay; returns its answer."""
    result = run(*arguments, "--admin", f"unix://{relay.admin_path}")
    assert result.returncode == code, f"{arguments}: {result.returncode} {result.stdout} {result.stderr}"
    return json.loads(result.stdout)


def dumped(relay, identity=SHOP):
    return {entry["name"]: entry for entry in ask(relay, "dump", "--as", identity)}


def labelled(name, namespace):
    """A VirtualService with something to hide."""
    value = yaml.safe_load(virtual_service(name, "a.example.org", namespace))
    value["metadata"]["labels"] = {"owner": "secret-team", "tier": "edge"}
    value["metadata"]["annotations"] = {"cost.example.org/centre": "secret-4711", "note": "seen"}
    return yaml.safe_dump(value)


def write(path, text):
    fresh = path.parent / ".new"
    fresh.write_text(text)
    fresh.rename(path)


def write_shadow(relay, policy):
    write(relay.folder / "next.yaml", policy if isinstance(policy, str) else yaml.safe_dump(policy))


@pytest.fixture
def chain(folder):
    """An origin and an edge below it, which is granted two namespaces."""
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    manifests.mkdir()
    (manifests / "one.yaml").write_text(
        "---\n".join(labelled(name, space) for name, space in [("a", "shop"), ("b", "bank"), ("c", "other")]))
    above = relays_only("edge")
    above["clusters"][0]["allow"] = [{"namespaces": ["shop", "bank"]}]
    origin = Relay(
        folder, "origin", trust, origin="mesh-test", policy=above,
        sources=[{"name": "files", "directory": {"path": str(manifests)}}])
    edge = Relay(
        folder, "edge", trust, policy=edge_policy(), sources=[origin.as_upstream(protocol="delta")], shadow="next.yaml")
    write_shadow(edge, edge_policy())
    origin.manifests = manifests
    return origin.start(), edge.start()


def test_rules_beyond_the_grant_are_named_until_they_are_granted(chain):
    origin, edge = chain
    policy = edge_policy()
    policy["clusters"][1]["allow"] = [{"namespaces": ["shop"]}, {"namespaces": ["payments"]}]
    edge.write_policy(policy)
    edge.reload()
    found = eventually(
        lambda: edge.status["policy"]["ungranted"], lambda rules: len(rules) == 2, 10, "ungranted rules")
    whole = [rule for rule in found if rule["extent"] == "all"]
    assert [rule["clusters"] for rule in whole] == [["shop"]]
    line = int(whole[0]["place"].split(":")[1])
    text = (edge.folder / "policy.yaml").read_text().splitlines()
    assert "payments" in " ".join(text[line - 1:line + 1]), whole
    assert [rule["clusters"] for rule in found if rule["extent"] == "part"] == [["bank"]], "ba* is more than bank"
    assert edge.metric("meshrelay_ungranted_rules", extent="all") == 1
    assert "ungranted: the tier above grants nothing" in edge.log
    assert "UNGRANTED" in run("status", "--admin", f"unix://{edge.admin_path}").stdout
    answer = ask(edge, "explain", "--as", SHOP, VIRTUAL_SERVICE, "payments/x", code=1)
    assert "the tier above does not grant it" in answer["reason"]
    # The grant follows, on the stream that is open.
    above = relays_only("edge")
    above["clusters"][0]["allow"] = [{"namespaces": ["ba*", "shop", "payments"]}]
    origin.write_policy(above)
    origin.reload()
    eventually(lambda: edge.status["policy"]["ungranted"], lambda rules: rules == [], 10, "nothing is ungranted")
    assert edge.metric("meshrelay_ungranted_rules", extent="all") == 0


def test_a_shadow_policy_is_counted_and_never_served(chain):
    origin, edge = chain
    assert edge.status["shadow"]["state"] == "current" and edge.status["shadow"]["clusters"] == []
    policy = edge_policy()
    policy["clusters"][1]["allow"] = [{"namespaces": ["bank"]}]
    policy["clusters"][0]["redact"] = {"labels": ["owner"]}
    policy["clusters"][2]["identities"] = ["spiffe://example.org/cluster/bank2/istiod"]
    write_shadow(edge, policy)
    edge.reload()
    status = eventually(lambda: edge.status["shadow"], lambda shadow: shadow["clustersTotal"] == 2, 10, "counts")
    assert status["clusters"] == [
        {"cluster": "all", "added": 0, "changed": 2, "removed": 0},
        {"cluster": "shop", "added": 1, "changed": 0, "removed": 1}]
    assert status["identitiesTotal"] == 2
    assert set(dumped(edge)) == {"a"}, "nothing of it is served"
    assert edge.metric("meshrelay_shadow_differences", change="changed") == 2
    answer = ask(edge, "diff", "--as", SHOP, "--shadow", code=1)
    assert answer == {"added": [f"{VIRTUAL_SERVICE} bank/b"], "changed": [], "removed": [f"{VIRTUAL_SERVICE} shop/a"]}
    every = ask(edge, "diff", "--all", "--shadow", code=1)
    assert [change["clusters"] for change in every["changes"]] == [["all"], ["shop"]]
    # It follows what the sources say.
    write(origin.manifests / "two.yaml", labelled("d", "bank"))
    eventually(
        lambda: edge.status["shadow"]["clusters"], lambda clusters: clusters[1:] and clusters[1]["added"] == 2, 10,
        "a new object is counted")
    # A bad one changes nothing and is told.
    write_shadow(edge, "clusters: [")
    edge.reload()
    bad = eventually(lambda: edge.status["shadow"], lambda shadow: shadow["state"] == "refused", 10, "a bad shadow")
    assert "next.yaml" in bad["error"] and bad["clustersTotal"] == 2
    assert edge.metric("meshrelay_shadow_ok") == 0 and edge.status["policy"]["state"] == "current"
    del edge.configuration["shadow"]
    edge.write_configuration()
    edge.reload()
    eventually(lambda: edge.status["shadow"], lambda shadow: shadow is None, 10, "no shadow any more")


def test_a_large_policy_is_compared_and_a_larger_one_is_told_so(chain):
    origin, _ = chain
    path = origin.folder / "large.yaml"

    def write_policy(count):
        path.write_text("clusters:\n" + "".join(
            f"  - {{name: c{number}, identities: ['spiffe://example.org/cluster/c{number}/*'], allow: [{{names: [x]}}]}}\n"
            for number in range(count)))

    write_policy(15_000)
    assert path.stat().st_size > 1024 * 1024
    # A slow machine may be told that it is too slow: then the relay was sent all of it.
    result = run("diff", "--all", "--policy", path, "--admin", f"unix://{origin.admin_path}")
    assert result.returncode == 1 and json.loads(result.stdout)["unchanged"] == 15_000 \
        or result.returncode == 69 and "did not answer within" in result.stderr, result
    write_policy(110_000)
    result = run("diff", "--all", "--policy", path, "--admin", f"unix://{origin.admin_path}")
    assert (result.returncode, result.stdout) == (64, "") and "--config" in result.stderr, result


def test_warnings_of_the_policy_are_told_while_it_is_in_force(chain):
    _, edge = chain
    assert edge.status["policy"]["warnings"] == []
    policy = edge_policy()
    policy["clusters"][0]["allow"] = [{"sources": ["centrall"]}]
    policy["roles"] = [{"name": "unused", "allow": [{"namespaces": ["a"]}]}]
    edge.write_policy(policy)
    edge.reload()
    found = eventually(lambda: edge.status["policy"], lambda policy: policy["warningsTotal"] == 2, 10, "told in status")
    assert found["state"] == "current"
    told = "\n".join(found["warnings"])
    assert "warning: no cluster uses the role \"unused\"" in told
    assert "warning: this rule names the source \"centrall\"" in told
    checked = run("check", "--config", str(edge.configuration_path))
    assert checked.returncode == 0 and all(line in checked.stdout for line in found["warnings"])
    for line in found["warnings"]:
        assert line in edge.log
    table = run("status", "--admin", f"unix://{edge.admin_path}").stdout
    assert "POLICY WARNINGS" in table and found["warnings"][0] in table
    # Also of a relay that starts with it.
    edge.terminate()
    edge.start()
    assert edge.status["policy"]["warnings"] == found["warnings"]
    edge.write_policy(edge_policy())
    edge.reload()
    eventually(lambda: edge.status["policy"]["warnings"], lambda warnings: warnings == [], 10, "none any more")


def test_what_is_hidden_is_hidden_on_every_tier_below(chain):
    origin, edge = chain
    assert dumped(edge)["a"]["labels"]["owner"] == "secret-team"
    whole = dumped(edge)["a"]["version"]
    above = relays_only("edge")
    above["clusters"][0] |= {
        "allow": [{"namespaces": ["shop", "bank"]}],
        "redact": {"labels": ["owner"], "annotations": ["cost.example.org/*"]}}
    origin.write_policy(above)
    origin.reload()
    entry = eventually(
        lambda: dumped(edge)["a"], lambda entry: "owner" not in entry["labels"], 10, "labels are hidden")
    assert entry["labels"] == {"tier": "edge"} and entry["annotations"] == {"note": "seen"}
    assert entry["version"] != whole
    upper = dumped(origin, "spiffe://example.org/relay/edge")["a"]
    assert upper["version"] == entry["version"], "equal content has equal versions on every tier"
    # Only what is hidden changes: nobody is sent anything.
    sequence = edge.status["snapshot"]["version"]
    write(origin.manifests / "one.yaml", (origin.manifests / "one.yaml").read_text().replace("4711", "4712"))
    write(origin.manifests / "two.yaml", labelled("z", "shop"))
    eventually(lambda: set(dumped(edge)), lambda names: names == {"a", "z"}, 10, "a later change")
    assert dumped(edge)["a"]["version"] == entry["version"] and edge.status["snapshot"]["version"] != sequence
    answer = ask(origin, "explain", "--as", "spiffe://example.org/relay/edge", VIRTUAL_SERVICE, "shop/a")
    assert answer["redacted"] == ["label owner", "annotation cost.example.org/centre"]
    for path in (edge.folder).rglob("*"):
        if path.is_file():
            assert b"secret-4711" not in path.read_bytes() or path.name == "log", path


def test_a_pipeline_learns_from_exit_codes(folder):
    manifests = folder / "manifests"
    manifests.mkdir()
    (manifests / "one.yaml").write_text(
        "---\n".join(labelled(name, space) for name, space in [("a", "shop"), ("b", "bank")]))
    configuration = folder / "meshrelay.yaml"
    configuration.write_text(yaml.safe_dump({
        "identity": {"files": {"svid": "s", "key": "k"}, "bundles": {"example.org": "b"}},
        "sources": [{"name": "files", "directory": {"path": "manifests"}}],
        "listen": [{"address": "127.0.0.1:1"}], "policy": "policy.yaml"}))
    (folder / "policy.yaml").write_text(yaml.safe_dump(edge_policy()))

    def diff(*arguments, code):
        result = run("diff", "--config", configuration, *arguments)
        assert result.returncode == code, f"{result.returncode} {result.stdout} {result.stderr}"
        return json.loads(result.stdout) if result.stdout else result.stderr

    assert diff("--all", code=0) == {"changes": [], "unchanged": 5}
    # An edited policy, as a folder.
    edited = folder / "edited"
    edited.mkdir()
    policy = copy.deepcopy(edge_policy())
    policy["clusters"][1]["allow"] = [{"namespaces": ["bank"]}]
    (edited / "a.yaml").write_text(yaml.safe_dump({"clusters": policy["clusters"][:2]}))
    (edited / "b.yaml").write_text(yaml.safe_dump({"clusters": policy["clusters"][2:]}))
    change = {"added": [f"{VIRTUAL_SERVICE} bank/b"], "changed": [], "removed": [f"{VIRTUAL_SERVICE} shop/a"]}
    assert diff("--as", SHOP, "--policy", edited, code=1) == change
    assert diff("--cluster", "shop", "--policy", edited, code=1) == change
    assert diff("--cluster", "bank", "--policy", edited, code=0)["added"] == []
    assert "no policy has the cluster" in diff("--cluster", "nobody", code=64)
    # A slip in the identity is not "nothing changes"; one that is blocked is known.
    assert "no policy has a cluster" in diff("--as", SHOP + "o", code=64)
    assert diff("--as", "spiffe://example.org/cluster/stolen/x", code=0)["added"] == []
    # An edited folder of manifests.
    new = folder / "new"
    new.mkdir()
    (new / "one.yaml").write_text(labelled("a", "shop").replace("a.example.org", "z.example.org"))
    assert diff("--as", SHOP, "--manifests", new, code=1) == {
        "added": [], "changed": [f"{VIRTUAL_SERVICE} shop/a"], "removed": []}
    every = diff("--all", "--manifests", f"files={new}", code=1)
    assert [(change["clusters"], change["removedTotal"]) for change in every["changes"]] == [
        (["all"], 1), (["bank"], 1), (["shop"], 0), (["tier"], 1)]
    assert "no directory is called 'other'" in diff("--all", "--manifests", f"other={new}", code=64)
    # What comes from upstreams is not in files: "nothing changes" would be said of nothing.
    whole = configuration.read_text()
    upstream = {"name": "central", "upstream": {
        "addresses": ["127.0.0.1:1"], "spiffeID": "spiffe://example.org/relay/origin"}}
    value = yaml.safe_load(whole)
    value["sources"].append(upstream)
    configuration.write_text(yaml.safe_dump(value))
    result = run("diff", "--config", configuration, "--all", "--policy", edited)
    assert result.returncode == 1 and "left out" in result.stderr and "central" in result.stderr
    value["sources"] = [upstream]
    configuration.write_text(yaml.safe_dump(value))
    assert "has no directory to compare" in diff("--all", "--policy", edited, code=64)
    result = run("explain", "--config", configuration, "--as", SHOP, VIRTUAL_SERVICE, "shop/a")
    assert result.returncode == 1
    assert "What central may send is not in files" in json.loads(result.stdout)["reason"]
    configuration.write_text(whole)
    # Problems are told with their place.
    (edited / "b.yaml").write_text("clusters: [{name: x}]")
    assert "b.yaml:1:12" in diff("--all", "--policy", edited, code=1)
    (new / "bad.yaml").write_text("kind: [")
    assert "bad.yaml" in diff("--all", "--manifests", new, code=1)
