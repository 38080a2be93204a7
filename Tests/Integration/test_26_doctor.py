"""`doctor` on hosts that are broken in every way: each fault has a finding that names it and what mends it.

Method: a real relay's configuration, sound first, then with one thing broken; upstreams, agents and bundle endpoints are
real processes. What the machine that runs the tests lacks itself (a kept clock, io_uring) is left out of the verdict.
"""

import json
import shutil
import socket

import grpc
import pytest
from harness.agent import Agent, entry
from harness.companion import Companion, Istiod
from harness.relay import Relay, run
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_20_federation import Endpoint, document

HOST = {"clock", "kernel", "memory", "user"}


@pytest.fixture
def trust(folder):
    return TrustDomain(folder / "trust")


@pytest.fixture
def host(folder, trust):
    """An edge with an upstream that runs, manifests of its own, a state folder and a bundle of a partner."""
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [trust.id("relay/edge")], "allow": [{}]})
    origin = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=policy).start()
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    edge = Relay(
        folder, "edge", trust, policy=edge_policy(), state=str(folder / "edge" / "state"),
        sources=[origin.as_upstream(), {"name": "files", "directory": {"path": str(manifests)}}])
    (folder / "edge" / "state").mkdir(mode=0o700)
    edge.origin, edge.manifests = origin, manifests
    return edge


def examine(relay, *options):
    """(exit code, findings besides the test machine's own)."""
    done = run("doctor", "--config", relay.configuration_path, "--json", *options, timeout=60)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["sound"] else 1), done.stdout
    assert {finding["probe"] for finding in report["findings"]} >= HOST
    assert all(finding["fix"] for finding in report["findings"] if finding["level"] != "ok"), "each says what mends it"
    return done.returncode, [finding for finding in report["findings"] if finding["probe"] not in HOST]


def worst(findings, probe):
    """The messages of a probe that are not fine, with their levels and fixes, as one text."""
    return " | ".join(
        f"{each['level']}: {each['message']} => {each['fix']}"
        for each in findings if each["probe"] == probe and each["level"] != "ok")


def test_a_sound_host(host):
    """Not started: only that. Started: nothing at all."""
    code, findings = examine(host)
    assert code == 0, findings
    assert {each["probe"] for each in findings if each["level"] != "ok"} == {"relay"}
    assert "warning: the relay does not run" in worst(findings, "relay") and "systemctl start" in worst(findings, "relay")
    assert any(each["probe"] == "listening" and "is free" in each["message"] for each in findings)
    host.start()
    code, findings = examine(host)
    assert code == 0 and [each for each in findings if each["level"] != "ok"] == []
    assert {each["probe"] for each in findings} == {
        "configuration", "policy", "sources", "identity", "trust", "reachability", "state", "relay"}
    reached = next(each for each in findings if each["probe"] == "reachability")["message"]
    assert host.origin.svid.uri in reached and "takes us" in reached


def test_for_people(host):
    done = run("doctor", "--config", host.configuration_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok       identity") and host.svid.uri in line for line in lines)
    assert any(line.strip().startswith("fix: systemctl start meshrelay") for line in lines)
    assert lines[-1].startswith("0 problems, ")


def test_no_configuration(folder):
    done = run("doctor", "--config", folder / "none.yaml", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and not report["sound"]
    assert any("none.yaml" in each["message"] and each["level"] == "problem" for each in report["findings"])


def short(host, trust, hours, lived=0):
    """Puts an SVID that has lived for some hours and ends in some."""
    svid = trust.issue("relay/edge", from_hours=-lived, to_hours=hours)
    svid.certificate.rename(host.svid.certificate)
    svid.key.rename(host.svid.key)


def break_key_mode(host, trust):
    host.svid.key.chmod(0o644)


def break_key(host, trust):
    trust.issue("relay/other").key.rename(host.svid.key)


def break_policy(host, trust):
    host.write_policy("clusters: [{name: a, identities: [\"spiffe://example.org/*/x\"]}]\n")


def break_configuration(host, trust):
    host.configuration["admni"] = host.configuration.pop("admin")
    host.write_configuration()


def break_expectation(host, trust):
    policy = edge_policy()
    policy["tests"] = [{"as": trust.id("cluster/shop/istiod"), "sees": ["networking.istio.io/VirtualService bank/x"]}]
    host.write_policy(policy)


def break_trust(host, trust):
    policy = edge_policy()
    policy["clusters"].append({"name": "partner", "identities": ["spiffe://partner.example/*"]})
    host.write_policy(policy)


def break_upstream(host, trust):
    host.origin.kill()


def break_upstream_identity(host, trust):
    host.configuration["sources"][0]["upstream"]["spiffeID"] = trust.id("relay/central")
    host.write_configuration()


def break_grant(host, trust):
    host.origin.write_policy(edge_policy())
    host.origin.kill()
    host.origin.start()


def break_folder(host, trust):
    shutil.rmtree(host.manifests)


def break_state(host, trust):
    shutil.rmtree(host.folder / "state")
    (host.folder / "state").write_text("")


def break_bundle(host, trust):
    trust.bundle.write_text("no certificate")


def break_port(host, trust):
    host.neighbour = socket.socket()
    host.neighbour.bind(("127.0.0.1", host.port))
    host.neighbour.listen()


def break_offline_goal(host, trust):
    host.configuration["identity"]["offlineGoal"] = "72h"
    host.write_configuration()


@pytest.mark.parametrize("fault, probe, level, words, fix", [
    (lambda host, trust: short(host, trust, -1, lived=3), "identity", "problem", "expired", "Renew the SVID"),
    (lambda host, trust: short(host, trust, 0.1, lived=3), "identity", "problem", "used 90 % of its life", "renew"),
    (lambda host, trust: short(host, trust, 1, lived=4), "identity", "warning", "used 75 % of its life", "renew"),
    (break_key_mode, "identity", "problem", "can be read by every user (mode 644)", "chmod 0640"),
    (break_key, "identity", "problem", "private key is not that of the SVID", "together"),
    (break_bundle, "identity", "problem", "bundle", "PEM"),
    (break_offline_goal, "identity", "warning", "offline goal of 3 days", "offlineGoal"),
    (break_policy, "policy", "problem", "policy.yaml:1:", ""),
    (break_expectation, "policy", "problem", "policy.yaml:", ""),
    (break_configuration, "configuration", "problem", "admni", "admin"),
    (break_trust, "trust", "problem", "no bundle of partner.example", "identity.bundles"),
    (break_upstream, "reachability", "problem", "ECONNREFUSED", "openssl s_client"),
    (break_upstream_identity, "reachability", "problem", "must be spiffe://example.org/relay/central", "openssl"),
    (break_grant, "reachability", "problem", "refuses us", "add spiffe://example.org/relay/edge to a cluster"),
    (break_folder, "sources", "problem", "manifests", ""),
    (break_state, "state", "problem", "is no folder", "ls -ld"),
    (break_port, "listening", "problem", "EADDRINUSE", "ss -ltnp"),
])
def test_a_fault_has_its_finding(host, trust, fault, probe, level, words, fix):
    fault(host, trust)
    code, findings = examine(host)
    found = worst(findings, probe)
    assert level in found and words in found and fix in found, findings
    assert code == (1 if level == "problem" else 0), findings
    # One fault hides no other probe: what does not need it was examined all the same.
    if probe != "configuration":
        assert {"configuration", "policy", "sources", "identity", "reachability", "state"} <= {each["probe"] for each in findings}


def test_an_upstream_that_says_nothing(host):
    """Accepts and never answers: told within the time that was given, and the other address is enough to follow."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    host.configuration["sources"][0]["upstream"]["addresses"].append(f"127.0.0.1:{silent.getsockname()[1]}")
    host.write_configuration()
    code, findings = examine(host)
    silent.close()
    assert code == 0 and worst(findings, "reachability").startswith("warning: source upstream")


def test_from_the_workload_api(host, trust, folder):
    with Agent(folder) as agent:
        host.configuration["identity"] = {"workloadAPI": agent.address}
        host.write_configuration()
        agent.offer(entry(trust.issue("relay/edge"), trust))
        code, findings = examine(host)
        assert code == 0, findings
        agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        code, findings = examine(host)
        assert code == 1 and "No registration entry matches" in worst(findings, "identity")
        assert "spire-server entry create" in worst(findings, "identity")
        assert "no identity to show" in worst(findings, "reachability")
    code, findings = examine(host)
    assert code == 1 and "cannot be reached" in worst(findings, "identity")


def test_bundle_endpoints(host, trust, folder):
    partner = TrustDomain(folder / "partner", "partner.example")
    policy = edge_policy()
    policy["clusters"].append({"name": "partner", "identities": ["spiffe://partner.example/*"]})
    host.write_policy(policy)
    server = trust.issue("spire/server")
    endpoint = Endpoint(server.certificate, server.key)
    endpoint.publish(document(partner, sequence=9))
    host.configuration["identity"]["federation"] = [
        {"trustDomain": "partner.example", "url": f"https://127.0.0.1:{endpoint.port}/bundle",
         "profile": "https_spiffe", "spiffeID": server.uri}]
    host.write_configuration()
    try:
        code, findings = examine(host)
        assert code == 0 and any("sequence 9" in each["message"] for each in findings), findings
        endpoint.publish(b"<html>")
        code, findings = examine(host)
        assert code == 1 and "cannot be used" in worst(findings, "trust")
    finally:
        endpoint.stop()
    code, findings = examine(host)
    assert code == 1 and "gives no bundle" in worst(findings, "trust")


def test_a_relay_that_runs_on_old_files(host, trust):
    """What runs is not what the files say: the finding names the command."""
    host.start()
    break_policy(host, trust)
    host.reload()
    eventually(lambda: host.status["policy"]["state"], lambda state: state == "refused", 10, "the reload")
    code, findings = examine(host)
    assert code == 1 and "the policy in force is not what the files say" in worst(findings, "relay")
    assert "systemctl reload meshrelay" in worst(findings, "relay")


def test_istiod_beside_the_companion(folder, trust, host):
    """Without istiod: what to write into its mesh configuration. With it: how many types it follows."""
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [trust.id("relay/edge")], "allow": [{}]})
    host.origin.write_policy(policy)
    companion = Companion(folder, trust, trust.issue("cluster/all/istiod"), [host.origin]).start()
    code, findings = examine(companion)
    assert code == 1 and f"configSources: [{{address: xds://{companion.address}}}" in worst(findings, "istiod")
    with Istiod(companion.address) as istiod:
        eventually(lambda: istiod.is_ready, bool, 15, "istiod is ready")
        code, findings = examine(companion)
        assert code == 0 and worst(findings, "istiod") == "", findings
        assert any(each["probe"] == "istiod" and "follows 16 types" in each["message"] for each in findings)
