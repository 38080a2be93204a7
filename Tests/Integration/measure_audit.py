"""What the audit costs: server CPU for one change to one client, without and with `audit`, in alternating rounds.

usage: measure_audit.py [--clients 100] [--pushes 60] [--rounds 3] [--changes 1]       (scripts/measure-audit builds first)

The relay is the program that MESHRELAY names, on one serve loop; clients are grpcio's, on delta ADS, each acknowledging.
CPU time is the kernel's account of the relay's threads (/proc/PID/task/*/schedstat), so what the clients cost does not
count; a busy machine still makes every microsecond dearer. Judge the ratio, and the median of many rounds.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

from harness.ads import Delta
from harness.relay import Relay
from harness.tiers import edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually

TYPE_URL = "networking.istio.io/v1/ServiceEntry"
# Objects that do not change; each is about a kibibyte.
OBJECTS = 200
# Before the counted ones: memory is warm then.
WARM = 10


def service_entry(name, value):
    return (f"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
            f"metadata: {{name: {name}, namespace: shop, annotations: {{value: '{value}', pad: {'x' * 800}}}}}\n"
            f"spec: {{hosts: [{name}.example.org], ports: [{{number: 443, name: tls, protocol: TLS}}], resolution: DNS}}\n")


def cpu_nanoseconds(process):
    tasks = pathlib.Path(f"/proc/{process.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def wait_for(clients, count):
    eventually(
        lambda: sum(len(client.responses) for client in clients), lambda total: total >= count, 60,
        "every client's response")


def measure(folder, options, audited):
    """Microseconds of server CPU for each update of one client."""
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    manifests.mkdir()
    (manifests / "still.yaml").write_text("---\n".join(service_entry(f"s{i}", 0) for i in range(OBJECTS)))

    def push(value):
        fresh = manifests / ".moving"
        fresh.write_text("---\n".join(service_entry(f"moving{i}", value) for i in range(options.changes)))
        fresh.rename(manifests / "moving.yaml")

    push(0)
    settings = {"audit": {"path": str(folder / "audit.jsonl")}} if audited else {}
    clients = []
    relay = Relay(
        folder, "measured", trust, sources=[{"name": "files", "directory": {"path": str(manifests)}}],
        policy=edge_policy(), publish={"quiet": "5ms"}, limits={"clientsPerIdentity": 10_000}, **settings)
    try:
        relay.start()
        svid = trust.issue("cluster/all/istiod", folder=folder)
        for _ in range(options.clients):
            clients.append(Delta(relay.address, svid, trust.bundle).subscribe(TYPE_URL))
        wait_for(clients, options.clients)
        for value in range(1, WARM + options.pushes + 1):
            if value == WARM + 1:
                before = cpu_nanoseconds(relay.process)
            push(value)
            wait_for(clients, options.clients * (1 + value))
        eventually(
            lambda: relay.metric("meshrelay_acks_total"),
            lambda acks: acks and acks >= options.clients * (1 + WARM + options.pushes), 30, "every acknowledgement")
        return (cpu_nanoseconds(relay.process) - before) / 1000 / options.clients / options.pushes
    finally:
        for client in clients:
            client.close()
        Relay.stop_all()


def main():
    parser = argparse.ArgumentParser(description="What the audit costs a push.")
    for name, value in (("clients", 100), ("pushes", 60), ("rounds", 3), ("changes", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    results = {False: [], True: []}
    for number in range(options.rounds):
        for audited in (False, True):
            with tempfile.TemporaryDirectory(prefix="meshrelay-test-") as folder:
                results[audited].append(measure(pathlib.Path(folder), options, audited))
        print(f"round {number + 1}: {results[False][-1]:.1f} us without, {results[True][-1]:.1f} us with", flush=True)
    without, audited = (statistics.median(results[key]) for key in (False, True))
    print(f"median: {without:.1f} us per client and push without an audit, {audited:.1f} us with one: "
          f"ratio {audited / without:.3f}")


if __name__ == "__main__":
    main()
