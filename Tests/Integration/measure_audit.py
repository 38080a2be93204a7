"""What the audit costs: server CPU for one change to one client, without and with `audit`, in one run.

usage: measure_audit.py [--clients 100] [--pushes 60] [--rounds 5] [--changes 1]       (scripts/measure-audit builds first)

Two relays run side by side on one processor, one with an audit, and are pushed to in turn, so that a machine that grows
slower or faster does so for both. The relay is the program that MESHRELAY names, on one serve loop; clients are
grpcio's, on delta ADS, each acknowledging, on the other processors. CPU time is the kernel's account of a relay's threads
(/proc/PID/task/*/schedstat), so what the clients cost does not count. Judge the ratio, and the median of many rounds.
"""

import argparse
import os
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


class Measured:
    """A relay with its clients; `push` changes what it serves and waits until every client was told."""

    def __init__(self, folder, options, name, audited):
        self.options, self.pushes = options, 0
        trust = TrustDomain(folder / f"trust-{name}")
        self.manifests = folder / f"manifests-{name}"
        self.manifests.mkdir()
        (self.manifests / "still.yaml").write_text("---\n".join(service_entry(f"s{i}", 0) for i in range(OBJECTS)))
        self.change()
        settings = {"audit": {"path": str(folder / f"{name}.jsonl")}} if audited else {}
        self.relay = Relay(
            folder, name, trust, sources=[{"name": "files", "directory": {"path": str(self.manifests)}}],
            policy=edge_policy(), publish={"quiet": "5ms"}, limits={"clientsPerIdentity": 10_000}, **settings)
        self.relay.start()
        for task in pathlib.Path(f"/proc/{self.relay.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {0})
        svid = trust.issue("cluster/all/istiod", folder=folder)
        self.clients = [
            Delta(self.relay.address, svid, trust.bundle).subscribe(TYPE_URL) for _ in range(options.clients)]
        self.wait()

    def change(self):
        fresh = self.manifests / ".moving"
        fresh.write_text("---\n".join(service_entry(f"moving{i}", self.pushes) for i in range(self.options.changes)))
        fresh.rename(self.manifests / "moving.yaml")

    def wait(self):
        eventually(
            lambda: sum(len(client.responses) for client in self.clients),
            lambda total: total >= len(self.clients) * (1 + self.pushes), 60, "every client's response")

    def push(self):
        self.pushes += 1
        self.change()
        self.wait()

    def settle(self):
        """All is acknowledged, and that is on record."""
        eventually(
            lambda: self.relay.metric("meshrelay_acks_total"),
            lambda acks: acks and acks >= len(self.clients) * (1 + self.pushes), 30, "every acknowledgement")
        time.sleep(1.5)

    def microseconds(self):
        return cpu_nanoseconds(self.relay.process) / 1000


def measure(folder, options):
    """Microseconds of server CPU for each update of one client, for each round: without and with an audit."""
    others = os.sched_getaffinity(0) - {0}
    if others:
        os.sched_setaffinity(0, others)
    pair = []
    try:
        pair = [Measured(folder, options, name, audited) for name, audited in (("plain", False), ("audited", True))]
        for _ in range(WARM):
            for measured in pair:
                measured.push()
        for number in range(options.rounds):
            for measured in pair:
                measured.settle()
            before = [measured.microseconds() for measured in pair]
            for _ in range(options.pushes):
                for measured in pair:
                    measured.push()
            for measured in pair:
                measured.settle()
            spent = [
                (measured.microseconds() - start) / options.clients / options.pushes
                for measured, start in zip(pair, before)]
            print(f"round {number + 1}: {spent[0]:.1f} us without, {spent[1]:.1f} us with", flush=True)
            yield spent
    finally:
        for measured in pair:
            for client in measured.clients:
                client.close()
        Relay.stop_all()


def main():
    parser = argparse.ArgumentParser(description="What the audit costs a push.")
    for name, value in (("clients", 100), ("pushes", 60), ("rounds", 5), ("changes", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshrelay-test-") as folder:
        rounds = list(measure(pathlib.Path(folder), options))
    without, audited = (statistics.median(spent[index] for spent in rounds) for index in (0, 1))
    ratio = statistics.median(spent[1] / spent[0] for spent in rounds)
    print(f"median: {without:.1f} us per client and push without an audit, {audited:.1f} us with one: "
          f"ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
