"""The commands of people and scripts: check, subscribe, status; exit codes are part of the contract."""

import json
import re
import subprocess

import pytest
import yaml
from harness import bodies
from harness.relay import PROGRAM, free_port, run
from harness.tiers import build_tiers
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service


@pytest.fixture
def sound(folder):
    """A configuration of an origin that has no problem."""
    return build_tiers(folder).origin


def check(relay):
    return run("check", "--config", relay.configuration_path)


def problem_lines(result):
    """Lines that begin with file:line:column."""
    return [line for line in (result.stdout + result.stderr).splitlines() if re.match(r"\S+:\d+:\d+: ", line)]


def test_check_finds_nothing_in_a_sound_configuration(sound):
    result = check(sound)
    assert result.returncode == 0, result.stdout + result.stderr
    assert problem_lines(result) == []


def test_check_needs_no_identity_files(sound):
    sound.svid.key.unlink()
    sound.svid.certificate.unlink()
    assert check(sound).returncode == 0


def test_check_reports_all_problems_of_a_configuration_at_once(sound):
    text = sound.configuration_path.read_text()
    text = text.replace("admin:", "admni:").replace("loops: 1", "loops: many") + "publish: {quiet: 100}\n"
    sound.configuration_path.write_text(text)
    result = check(sound)
    output = result.stdout + result.stderr
    assert result.returncode == 1, output

    def place(needle):
        line, column = next((n, t.index(needle)) for n, t in enumerate(text.splitlines(), 1) if needle in t)
        return f"meshrelay.yaml:{line}:{column + 1}: "

    assert place("admni") in output
    assert "admin" in next(line for line in output.splitlines() if "admni" in line), "the nearest key is suggested"
    assert place("many") in output
    assert place("100}") in output


def test_check_reports_policy_and_manifests_at_once(sound):
    sound.write_policy(
        "clusters:\n  - name: a\n    identities: [\"http://example.org/a\"]\n    allow: [{}]\n    alow: [{}]\n")
    manifests = sound.folder.parent / "manifests"
    (manifests / "bad.yaml").write_text(virtual_service("bad").replace("hosts: [a.example.org]", "hosts: 7"))
    (manifests / "worse.yaml").write_text("kind: [\n")
    # A configuration with an error of its own does not hide the rest.
    sound.configuration_path.write_text(sound.configuration_path.read_text() + "admni: x\n")
    result = check(sound)
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert "admni" in output
    assert "policy.yaml:3:18: " in output
    assert "policy.yaml:5:5: " in output
    assert "bad.yaml:5:10: " in output
    assert "worse.yaml:" in output


@pytest.mark.parametrize("change, expected", [
    ("sources: []\n", "source"),
    ("state: /var/lib/x\nstate: /var/lib/y\n", "state"),
    ("admin: \"0.0.0.0:15014\"\n", "other hosts"),
    ("limits: {messageBytes: 256MB}\n", "messageBytes"),
    ("identity: {files: {svid: a.pem}}\n", "key"),
    ("listen: [{address: \"nowhere\"}]\n", "nowhere"),
    ("sources: [{name: x, upstream: {addresses: [\"a:1\"], spiffeID: \"spiffe://Example.org/x\"}}]\n", "spiffe"),
])
def test_check_refuses(sound, change, expected):
    key = change.partition(":")[0]
    configuration = {name: value for name, value in sound.configuration.items() if name != key}
    sound.configuration_path.write_text(yaml.safe_dump(configuration) + change)
    result = check(sound)
    assert result.returncode == 1, result.stdout
    assert expected in (result.stdout + result.stderr).partition("meshrelay.yaml:")[2]


@pytest.mark.parametrize("key, value", [
    ("sources", [{"name": "gitops", "git": {"url": "https://git.example.org/mesh.git", "branch": "main"}}]),
    ("sources", [{"name": "store", "etcd": {"endpoints": ["https://10.0.0.5:2379"], "prefix": "/mesh/"}}]),
])
def test_what_is_not_built_is_refused_by_name_and_never_ignored(sound, key, value):
    sound.configuration[key] = value
    sound.write_configuration()
    result = check(sound)
    assert result.returncode == 1
    name = next(iter(value[0].keys() & {"git", "etcd"})) if key == "sources" else key
    refused = [line for line in problem_lines(result) if name in line and "not built" in line]
    assert len(refused) == 1, result.stdout + result.stderr


def test_serve_refuses_an_unusable_configuration(sound):
    sound.configuration_path.write_text("node: [\n")
    result = run("serve", "--config", sound.configuration_path)
    assert result.returncode == 78
    assert "meshrelay.yaml:" in result.stderr


def test_usage_errors_exit_64(sound):
    assert run("no-such-command").returncode == 64
    assert run("check", "--no-such-option").returncode == 64


@pytest.mark.parametrize("command", ["serve", "check", "status", "subscribe"])
def test_every_command_explains_itself(command):
    result = run(command, "--help")
    assert result.returncode == 0 and "USAGE" in result.stdout


def test_a_relay_that_is_not_there_is_69(folder):
    result = run("status", "--json", "--admin", f"unix://{folder}/nobody.sock")
    assert result.returncode == 69
    assert str(folder) in result.stderr


def test_status_json_is_the_status_unchanged(shared_tiers):
    edge = shared_tiers.edge
    result = run("status", "--json", "--admin", f"unix://{edge.admin_path}")
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)) == set(edge.status)
    table = run("status", "--admin", f"unix://{edge.admin_path}")
    assert table.returncode == 0
    assert "edge" in table.stdout and "synced" in table.stdout


def subscribe(tiers, cluster, *arguments, types=(TYPE_URL,)):
    svid = tiers.identity(cluster)
    return [
        "subscribe", tiers.edge.address, *(part for name in types for part in ("--type", name)),
        "--svid", str(svid.certificate), "--key", str(svid.key), "--bundle",
        f"{tiers.trust.name}={tiers.trust.bundle}", *arguments]


@pytest.mark.parametrize("dialect", [[], ["--delta"]])
def test_subscribe_once_prints_a_line_a_type_and_ends(shared_tiers, dialect):
    types = [bodies.type_urls(kind)[0] for kind in bodies.KINDS] + ["example.org/v1/Unknown"]
    result = run(*subscribe(shared_tiers, "all", "--once", *dialect, types=types))
    assert result.returncode == 0, result.stderr
    answers = {answer["type"]: answer for answer in map(json.loads, result.stdout.splitlines())}
    assert set(answers) == set(types)
    for type_url, answer in answers.items():
        assert set(answer) >= {"type", "version", "nonce", "resources", "removed"}
        kind = type_url.rpartition("/")[2]
        names = {name for of_kind, name in bodies.read_manifests(shared_tiers.manifests) if of_kind == kind}
        assert len(answer["resources"]) == len(names)
        assert all(any(name in json.dumps(resource) for resource in answer["resources"]) for name in names)


def test_subscribe_follows_changes(folder, tiers):
    process = subprocess.Popen(
        [PROGRAM, *subscribe(tiers, "all")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = json.loads(process.stdout.readline())
        assert len(first["resources"]) == len(AT_START)
        (tiers.manifests / "new.yaml").write_text(virtual_service("fresh"))
        second = json.loads(process.stdout.readline())
        assert len(second["resources"]) == len(AT_START) + 1
        assert second["version"] != first["version"]
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_subscribe_checks_who_the_server_is(shared_tiers):
    good = run(*subscribe(shared_tiers, "all", "--once", "--server-id", shared_tiers.edge.svid.uri))
    assert good.returncode == 0, good.stderr
    bad = run(*subscribe(shared_tiers, "all", "--once", "--server-id", shared_tiers.origin.svid.uri))
    assert bad.returncode not in (0, 64)
    assert bad.stdout == ""
    assert "relay/edge" in bad.stderr


def test_subscribe_says_why_it_was_refused(shared_tiers):
    result = run(*subscribe(shared_tiers, "unknown", "--once"))
    assert result.returncode not in (0, 64)
    assert "PERMISSION_DENIED" in result.stderr.upper().replace(" ", "_")


def test_subscribe_to_nobody_is_69(shared_tiers):
    svid = shared_tiers.identity("all")
    result = run(
        "subscribe", f"127.0.0.1:{free_port()}", "--type", TYPE_URL, "--once", "--svid", svid.certificate, "--key",
        svid.key, "--bundle", f"{shared_tiers.trust.name}={shared_tiers.trust.bundle}")
    assert result.returncode == 69, result.stderr


def test_a_relay_with_its_own_uuid_in_the_path_refuses_the_loop(folder):
    """Two relays that name each other never become each other's truth."""
    tiers = build_tiers(folder)
    first, second = tiers.region, tiers.edge
    second.write_policy({"clusters": [
        {"name": "r", "identities": [tiers.trust.id("relay/region")], "allow": [{}]}]})
    first.configuration["sources"] = [
        {"name": "files", "directory": {"path": str(tiers.manifests)}}, second.as_upstream("loop")]
    first.write_configuration()
    first.start(ready=False)
    second.start(ready=False)
    looped = eventually(
        lambda: next(source for source in first.status["sources"] if source["name"] == "loop"),
        lambda source: source["lastError"], 15, "the loop is reported")
    assert looped["state"] in ("failed", "connecting")


def test_explain_from_files_alone(sound):
    sound.write_policy({"clusters": [{
        "name": "shop", "identities": ["spiffe://example.org/cluster/shop/istiod"],
        "allow": [{"namespaces": ["shop"]}]}]})
    manifests = sound.folder.parent / "manifests"
    (manifests / "bad.yaml").write_text(virtual_service("bad").replace("hosts: [a.example.org]", "hosts: 7"))

    def explain(name):
        result = run(
            "explain", "--config", sound.configuration_path, "--as", "spiffe://example.org/cluster/shop/istiod",
            "networking.istio.io/VirtualService", name)
        return result.returncode, json.loads(result.stdout)

    code, seen = explain("shop/catalogue")
    assert code == 0 and seen["visible"] and seen["effect"] == "allow" and seen["rule"]["line"] > 0
    code, hidden = explain("bank/ledger")
    assert code == 1 and not hidden["visible"] and hidden["cluster"] == "shop"
    code, missing = explain("shop/nothing")
    assert code == 1 and "no directory" in missing["reason"]
    code, aside = explain("shop/bad")
    assert code == 1 and "set aside" in aside["reason"] and "bad.yaml" in aside["reason"]


def test_explain_from_files_says_why_there_is_nothing(sound):
    def explain(type_name, name, code=1):
        result = run(
            "explain", "--config", sound.configuration_path, "--as", "spiffe://example.org/cluster/shop/istiod",
            type_name, name)
        assert result.returncode == code, result.stderr
        return json.loads(result.stdout)["reason"] if result.stdout else result.stderr

    sound.write_policy({"clusters": [{
        "name": "shop", "identities": ["spiffe://example.org/cluster/shop/istiod"], "allow": [{}]}]})
    manifests = sound.folder.parent / "manifests"
    (manifests / "broken.yaml").write_text("kind: VirtualService\nmetadata: {name: lost, namespace: shop}\nspec: [\n")
    explain("networking.istio.io/VirtualService", "shop/catalogue", code=0)
    assert "broken.yaml:4" in explain("networking.istio.io/VirtualService", "shop/lost")
    assert "did you mean networking.istio.io/VirtualService" in explain("networking.istio.io/VirtualServic", "shop/catalogue")
    assert "NAMESPACE/NAME" in explain("networking.istio.io/VirtualService", "catalogue")
    assert "is not group/Kind" in explain("VirtualService", "shop/catalogue", code=64)
    source = sound.configuration["sources"][0]
    source["only"] = {"namespaces": ["bank"]}
    sound.write_configuration()
    assert "may not supply it" in explain("networking.istio.io/VirtualService", "shop/catalogue")
    source["directory"]["path"] = "elsewhere"
    sound.write_configuration()
    assert "elsewhere is not there" in explain("networking.istio.io/VirtualService", "shop/catalogue")


def test_dump_prints_yaml_too(shared_tiers):
    arguments = ["dump", "--admin", f"unix://{shared_tiers.edge.admin_path}", "--as",
                 "spiffe://example.org/cluster/shop/istiod"]
    as_json, as_yaml = run(*arguments), run(*arguments, "-o", "yaml")
    assert as_yaml.returncode == 0, as_yaml.stderr
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)


def test_explain_says_that_an_object_was_set_aside(tiers):
    (tiers.manifests / "bad.yaml").write_text(virtual_service("bad").replace("hosts: [a.example.org]", "hosts: 7"))

    def reason():
        result = run(
            "explain", "--admin", f"unix://{tiers.origin.admin_path}", "--as",
            "spiffe://example.org/cluster/all/istiod", "networking.istio.io/VirtualService", "shop/bad")
        assert result.returncode == 1
        return json.loads(result.stdout)["reason"]

    eventually(reason, lambda reason: "set aside" in reason and "bad.yaml" in reason, 10, "why it is not served")


def test_explain_says_that_a_newer_form_was_set_aside(tiers):
    path = tiers.manifests / "good.yaml"
    path.write_text(virtual_service("good"))

    def answer():
        result = run(
            "explain", "--json", "--admin", f"unix://{tiers.origin.admin_path}", "--as",
            "spiffe://example.org/cluster/all/istiod", "istio/networking/v1alpha3/virtualservices", "shop/good")
        return result.returncode, json.loads(result.stdout)["reason"]

    eventually(answer, lambda found: found[0] == 0 and "set aside" not in found[1], 10, "it is served")
    path.write_text(virtual_service("good").replace("hosts: [a.example.org]", "hosts: 7"))
    eventually(
        answer, lambda found: found[0] == 0 and "a form of it was set aside" in found[1] and "good.yaml:" in found[1],
        10, "the last good version is served, and why it is not the newest")


@pytest.mark.parametrize("arguments, text", [
    (["dump", "--type", "VirtualService"], "is not group/Kind"),
    (["explain", "VirtualService", "shop/x"], "is not group/Kind"),
    (["diff", "--from", "dead"], "is no version"),
    (["diff", "--from", "deadbeef"], "No kept version"),
    (["dump", "--as", "nobody"], "does not begin with spiffe://"),
    (["diff", "--as", "spiffe://example.org/cluster/slip"], "No policy has a cluster"),
    (["dump", "--as", "spiffe://example.org/cluster/slip"], "No cluster has the identity"),
    (["dump", "--json", "--as", "spiffe://example.org/cluster/slip"], "policy.yaml"),
])
def test_a_slip_in_a_question_is_no_answer(shared_tiers, arguments, text):
    whom = [] if "--as" in arguments else ["--as", "spiffe://example.org/cluster/shop/istiod"]
    result = run(*arguments, *whom, "--admin", f"unix://{shared_tiers.edge.admin_path}")
    assert (result.returncode, result.stdout) == (64, "") and text in result.stderr


def test_who_is_blocked_is_told_by_which_line(shared_tiers):
    edge = shared_tiers.edge
    stolen = "spiffe://example.org/cluster/stolen/x"
    text = (edge.folder / "policy.yaml").read_text().splitlines()
    line = next(number for number, line in enumerate(text, 1) if "cluster/stolen/*" in line)
    place = f"{edge.folder}/policy.yaml:{line}:"
    for arguments in (["dump"], ["dump", "--json"], ["dump", "-o", "yaml"]):
        result = run(*arguments, "--as", stolen, "--admin", f"unix://{edge.admin_path}")
        assert (result.returncode, result.stdout) == (1, "") and place in result.stderr, result
        assert "answered 403: The identity" in result.stderr and "{" not in result.stderr
    result = run("explain", "--as", stolen, "networking.istio.io/Gateway", "no/no", "--admin", f"unix://{edge.admin_path}")
    answer = json.loads(result.stdout)
    assert result.returncode == 1 and answer["effect"] == "blocked" and answer["rule"]["line"] == line, answer
    assert "not in the snapshot" in answer["reason"]
    result = run("diff", "--as", stolen, "--admin", f"unix://{edge.admin_path}")
    assert result.returncode == 0 and place in result.stderr and place in json.loads(result.stdout)["note"], result


def test_a_type_may_be_asked_for_by_any_of_its_names(shared_tiers):
    def dump(name):
        result = run(
            "dump", "--json", "--type", name, "--as", "spiffe://example.org/cluster/shop/istiod", "--admin",
            f"unix://{shared_tiers.edge.admin_path}")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    assert dump("networking.istio.io/VirtualService")
    for name in ["networking.istio.io/v1beta1/VirtualService", "istio/networking/v1alpha3/virtualservices"]:
        assert dump(name) == dump("networking.istio.io/VirtualService")


@pytest.mark.parametrize("arguments, code", [
    (["freeze", ""], 1), (["thaw", ""], 1), (["rollback", "00000000", "--cluster", ""], 1), (["release", "shop", ""], 1),
    (["snapshot", "export", "--as", "", "all.snapshot"], 1), (["snapshot", "import", "--source", "", "some.snapshot"], 1),
    (["dump", "--as", ""], 64), (["dump", "--as", "spiffe://example.org/cluster/shop/istiod", "--type", ""], 64),
    (["diff", "--cluster", ""], 64), (["diff", "--all", "--from", ""], 64),
])
def test_what_a_script_leaves_empty_never_means_everything(shared_tiers, arguments, code):
    """`freeze "$CLUSTER"` where CLUSTER is not set."""
    edge = shared_tiers.edge
    arguments = [str(edge.folder / word) if word.endswith(".snapshot") else word for word in arguments]
    if arguments[1] == "import":
        assert run("snapshot", "export", arguments[-1], "--admin", f"unix://{edge.admin_path}").returncode == 0
    result = run(*arguments, "--admin", f"unix://{edge.admin_path}")
    assert (result.returncode, result.stdout) == (code, "") and "is empty" in result.stderr, result
    assert edge.status["gates"] == []
    assert not (edge.folder / "all.snapshot").exists()


def test_a_type_that_nobody_knows_is_empty_and_said_to_be_odd(shared_tiers):
    for name, said in [("networking.istio.io/VirtualServic", "did you mean networking.istio.io/VirtualService?"),
                       ("networking.istio.io/Sidecar", "")]:
        result = run("dump", "--type", name, "--as", "spiffe://example.org/cluster/nothing/istiod", "--admin",
                     f"unix://{shared_tiers.edge.admin_path}")
        assert (result.returncode, json.loads(result.stdout)) == (0, []) and said in result.stderr, result
        assert said or not result.stderr


def test_policy_test_prints_json_too(folder):
    path = folder / "policy.yaml"
    text = "clusters: [{name: a, identities: ['spiffe://td/a'], allow: [{namespaces: [foo]}]}]\n" \
        "tests: [{as: spiffe://td/a, hidden: ['* bar/*']}]\n"
    path.write_text(text)
    result = run("policy", "test", "--json", path)
    assert result.returncode == 0
    assert json.loads(result.stdout) == {"sound": True, "expectations": 1, "clusters": 1, "problems": []}
    path.write_text(text.replace("bar", "foo"))
    result = run("policy", "test", "--json", path)
    answer = json.loads(result.stdout)
    assert result.returncode == 1 and answer["sound"] is False and "expectations" not in answer
    [problem] = answer["problems"]
    assert problem["place"] == f"{path}:2:38" and problem["severity"] == "error", problem


def test_policy_union_prints_what_the_tier_above_must_grant(sound):
    sound.write_policy({
        "roles": [{"name": "tenant", "identities": ["spiffe://example.org/cluster/{cluster}/istiod"],
                   "allow": [{"namespaces": ["{cluster}", "shared-*"]}]}],
        "clusters": [{"name": "a", "use": ["tenant"]}, {"name": "b", "use": ["tenant"]}]})
    result = run("policy", "union", sound.folder / "policy.yaml")
    assert result.returncode == 0, result.stderr
    assert {tuple(sorted(rule["namespaces"])) for rule in yaml.safe_load(result.stdout)["allow"]} == {
        ("a", "shared-*"), ("b", "shared-*")}
    as_json = run("policy", "union", "--json", sound.folder / "policy.yaml")
    assert json.loads(as_json.stdout)["deny"] == []
