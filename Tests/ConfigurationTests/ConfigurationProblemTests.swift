// Goal: every mistake in the file of `serve` is told at its place, with what to do; secrets are never repeated.
// Method: golden texts for one mistake each; then many at once; then seeded damage.

import Documents
import Primitives
import Testing

@testable import Configuration

/// Replaces the line of a key in the smallest file.
private func with(_ line: String) -> String {
  let key = line.prefix { $0 != ":" } + ":"
  return minimal().split(separator: "\n").map { $0.hasPrefix(key) ? line : String($0) }.joined(
    separator: "\n")
}

struct ConfigurationProblemTests {
  @Test(arguments: [
    (
      "identity: {files: {svid: a, key: b}}",
      "c:1:11: the key \"bundles\" is missing in identity, without a bundle nobody can be verified, add bundles: { TRUST_DOMAIN: FILE }"
    ),
    (
      "identity: {files: {svid: a, key: b}, bundles: {}}",
      "c:1:11: identity.bundles is empty, add TRUST_DOMAIN: FILE"
    ),
    (
      "identity: {files: {svid: a}, bundles: {a.org: b}}",
      "c:1:19: the key \"key\" is missing in identity.files"
    ),
    (
      "identity: {files: {svid: a, key: {}}, bundles: {a.org: b}}",
      "c:1:34: identity.files.key must be {file: PATH} or {credential: NAME}"
    ),
    (
      "identity: {files: {svid: a, key: {file: a, credential: b}}, bundles: {a.org: b}}",
      "c:1:56: identity.files.key must be {file: PATH} or {credential: NAME}, a credential is a name, and only one of both can be meant"
    ),
    (
      "identity: {files: {svid: a, key: {credential: ../b}}, bundles: {a.org: b}}",
      "c:1:47: identity.files.key must be {file: PATH} or {credential: NAME}, a credential is a name, and only one of both can be meant"
    ),
    (
      "identity: {files: {svid: a, key: \"-----BEGIN PRIVATE KEY----- MIIEsecret\"}, bundles: {a.org: b}}",
      "c:1:34: identity.files.key holds a key or certificate, put it into a file and write its path"
    ),
    (
      "identity: {files: {svid: \"https://u:secret@h/x\", key: b}, bundles: {a.org: b}}",
      "c:1:26: identity.files.svid is \"…@h/x\", a URL, write a path"
    ),
    (
      "identity: {files: {svid: a, key: b}, bundles: {A.org: b}}",
      "c:1:48: \"A.org\" in identity.bundles is no trust domain, 'A' at offset 0 is not allowed in a trust domain, Use only a-z, 0-9, '.', '-' and '_'"
    ),
    (
      "identity: {workloadAPI: /x}",
      "c:1:25: identity.workloadAPI is \"/x\", which begins neither with unix:// nor with tcp://, write it like unix:///run/spire/agent/public/api.sock"
    ),
    (
      "identity: {workloadAPI: \"unix:///x\", files: {svid: a, key: b}, bundles: {a.org: b}}",
      "c:1:12: identity takes files or workloadAPI, and one of them only, remove one"
    ),
    (
      "identity: {select: {hint: x}, files: {svid: a, key: b}, bundles: {a.org: b}}",
      "c:1:12: identity.select chooses among SVIDs of the Workload API, and files hold one, remove it"
    ),
    (
      "identity: {select: {hint: x, spiffeID: \"spiffe://a/b\"}}",
      "c:1:20: identity.select takes hint or spiffeID, and one of them only"
    ),
    (
      "identity: {select: {spiffeID: \"spiffe://a\"}}",
      "c:1:31: identity.select.spiffeID is spiffe://a, which names a trust domain and no workload, add the workload's path"
    ),
    ("sources: []", "c:2:10: sources is an empty list, fill it or remove the key"),
    ("sources: [{name: a}]", "c:2:11: this source has no kind, give it one of upstream and directory"),
    ("sources: [{directory: {path: a}}]", "c:2:11: the key \"name\" is missing in sources"),
    (
      "sources: [{name: a, directory: {path: a}, upstream: {addresses: [\"h:1\"], spiffeID: \"spiffe://t/a\"}}]",
      "c:2:11: this source is upstream and directory at once, give it one of upstream and directory"
    ),
    (
      "sources: [{name: a, directory: {path: a}}, {name: a, directory: {path: b}}]",
      "c:2:44: the source \"a\" is defined twice, it stands at line 2 already, give one of them another name"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"]}}]",
      "c:2:31: the key \"spiffeID\" is missing in sources.upstream"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [], spiffeID: \"spiffe://t/a\"}}]",
      "c:2:43: sources.upstream.addresses is an empty list, fill it or remove the key"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\", \"h:1\"], spiffeID: \"spiffe://t/a\"}}]",
      "c:2:51: h:1 stands twice in sources.upstream.addresses, remove one of them"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"user:secret@h:1\"], spiffeID: \"spiffe://t/a\"}}]",
      "c:2:44: an item of sources.upstream.addresses is \"…@h:1\", which has user information in it, remove everything up to the @"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"https://h:1\"], spiffeID: \"spiffe://t/a\"}}]",
      "c:2:44: an item of sources.upstream.addresses is \"https://h:1\", which is a URL, not an address, write it like host:15010"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:0\"], spiffeID: \"spiffe://t/a\"}}]",
      "c:2:44: an item of sources.upstream.addresses is \"h:0\", which has the port 0, write it like host:15010"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], spiffeID: \"spiffe://t\"}}]",
      "c:2:62: sources.upstream.spiffeID is \"spiffe://t\", which is no SPIFFE ID or pattern, The pattern spiffe://t names a trust domain, which no workload has as its ID, Write spiffe://t/* for all of its workloads"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], spiffeID: \"spiffe://t/a\", dnsName: h, ca: c}}]",
      "c:2:78: sources.upstream.dnsName stands beside spiffeID, a server is known by its SPIFFE ID, or by dnsName and ca where it has none, keep one of both"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], dnsName: h, protocol: sotw}}]",
      "c:2:31: the key \"ca\" is missing in sources.upstream"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], ca: h, protocol: mcp}}]",
      "c:2:31: the key \"dnsName\" is missing in sources.upstream"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], dnsName: 10.0.0.1, ca: c, protocol: sotw}}]",
      "c:2:61: sources.upstream.dnsName is \"10.0.0.1\", which is no DNS name, write it like istiod.istio-system.svc"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], spiffeID: \"spiffe://t/a\", generated: true}}]",
      "c:2:78: sources.upstream.generated is for an istiod, which is known by its dnsName, remove it"
    ),
    (
      "sources: [{name: a, expandHosts: \".local\", directory: {path: a}}]",
      "c:2:34: sources.expandHosts is \".local\", which is no DNS name, write it like cluster.local"
    ),
    (
      "sources: [{name: a, upstream: {addresses: [\"h:1\"], spiffeID: \"spiffe://t/a\", protocol: detla}}]",
      "c:2:88: sources.upstream.protocol is \"detla\", it must be delta, sotw, mcp or mcp-aggregated, did you mean \"delta\"?"
    ),
    (
      "sources: [{name: a, directory: {path: a}, only: {types: [\"networking.istio.io/v1/Gateway\"]}}]",
      "c:2:58: the type \"networking.istio.io/v1/Gateway\" has a version or one slash too many, write \"networking.istio.io/Gateway\""
    ),
    (
      "sources: [{name: a, git: {url: \"https://u:secret@h/x\"}}]",
      "c:2:21: sources.git is not built into this version yet, remove it"
    ),
    ("listen: []", "c:3:9: listen is an empty list, fill it or remove the key"),
    ("listen: [{}]", "c:3:10: listen takes address or socket, and one of them only"),
    (
      "listen: [{address: \"0.0.0.0:1\", socket: a}]",
      "c:3:10: listen takes address or socket, and one of them only"
    ),
    (
      "listen: [{address: \"relay:1\"}]",
      "c:3:20: listen.address is \"relay:1\", which has a host name, write an IP address of this host"
    ),
    (
      "listen: [{address: \"0.0.0.0\"}]",
      "c:3:20: listen.address is \"0.0.0.0\", which has no port, write it like host:15010"
    ),
    (
      "listen: [{address: \"0.0.0.0:65536\"}]",
      "c:3:20: listen.address is \"0.0.0.0:65536\", which has a port that is no number from 1 to 65535, write it like host:15010"
    ),
    (
      "listen: [{address: \"::1:15010\"}]",
      "c:3:20: listen.address is \"::1:15010\", which has more than one colon, write IPv6 addresses in brackets, like [::1]:15010"
    ),
    (
      "listen: [{address: \"10.0.0:1\"}]",
      "c:3:20: listen.address is \"10.0.0:1\", which has no host name or IP address before the port, write it like host:15010"
    ),
    (
      "listen: [{socket: a}, {socket: a}]",
      "c:3:23: socket a is listened on twice, remove one of them"
    ),
    ("listen: \"0.0.0.0:15010\"", "c:3:9: listen must be a list, not a single value, put it in [brackets]"),
    ("policy:", "c:4:1: policy has no value, give it one or remove the key"),
    ("policy: [a]", "c:4:9: policy must be a single value, not a list"),
  ])
  func oneLine(_ line: String, _ expected: String) {
    #expect(read(with(line), file: "c").1 == [expected])
  }

  @Test(arguments: [
    ("tls: {minimum: 1.1}", "c:5:16: tls.minimum is \"1.1\", it must be 1.2 or 1.3, did you mean \"1.2\"?"),
    ("staleAfter: {then: alarm}", "c:5:13: the key \"after\" is missing in staleAfter"),
    ("staleAfter: {after: 0s}", "c:5:21: staleAfter.after is out of range, it must be 1s to 3650d"),
    (
      "admin: \"0.0.0.0:15014\"",
      "c:5:8: admin is 0.0.0.0:15014, which other hosts can reach, it has no authentication of its own, use unix:///run/meshrelay/admin.sock or an address like 127.0.0.1:15014"
    ),
    (
      "admin: unix://admin.sock",
      "c:5:8: admin is \"unix://admin.sock\", which is no absolute path of at most 107 bytes, write it like unix:///run/meshrelay/admin.sock"
    ),
    (
      "admin: \"http://u:secret@127.0.0.1:1\"",
      "c:5:8: admin is \"…@127.0.0.1:1\", which has user information in it, remove everything up to the @"
    ),
    ("admin: {a: b}", "c:5:8: admin must be a single value, not a mapping"),
    (
      "publish: {quiet: 2s, max: 1s}",
      "c:5:27: publish.max is shorter than publish.quiet, make it at least as long"
    ),
    (
      "brake: {removes: 101%}",
      "c:5:18: brake.removes is \"101%\", which is no percentage from 0% to 100%, write it like 20%; 100% turns the brake off"
    ),
    (
      "brake: {removes: 20}",
      "c:5:18: brake.removes is \"20\", which is no percentage from 0% to 100%, write it like 20%; 100% turns the brake off"
    ),
    ("brake: {atLeast: 0}", "c:5:18: brake.atLeast is out of range, it must be 1 to 1000000"),
    ("history: {versions: 0}", "c:5:21: history.versions is out of range, it must be 1 to 100000"),
    ("loops: -1", "c:5:8: loops is \"-1\", it must be a whole number"),
    ("loops: 1025", "c:5:8: loops is out of range, it must be 0 to 1024"),
    ("limits: {client: 1}", "c:5:10: unknown key \"client\" in limits, did you mean \"clients\"?"),
    (
      "limits: {clients: 5, clientsPerIdentity: 6}",
      "c:5:22: limits.clientsPerIdentity is more than limits.clients, raise clients or lower clientsPerIdentity"
    ),
    (
      "limits: {messageBytes: 2KiB}",
      "c:5:10: limits.resourceBytes is more than limits.messageBytes, raise messageBytes or lower resourceBytes"
    ),
    ("limits: {drain: 5}", "c:5:17: limits.drain is \"5\", it must be a duration like 100ms, 1m30s or 30d"),
    (
      "push: [{address: \"pilot.old:9901\", spiffeID: nobody}]",
      "c:5:46: push.spiffeID is \"nobody\", which is no SPIFFE ID or pattern, The text does not begin with spiffe://, Write it as spiffe://trust-domain/path"
    ),
    ("push: [{spiffeID: \"spiffe://example.org/pilot\"}]", "c:5:8: the key \"address\" is missing in push"),
    (
      "push: [{address: \"a:1\", spiffeID: \"spiffe://t/a\"}, {address: \"a:1\", spiffeID: \"spiffe://t/b\"}]",
      "c:5:52: a:1 is pushed to twice, remove one of them"
    ),
    ("nod: x", "c:5:1: unknown key \"nod\", did you mean \"node\"?"),
    (
      "password: secret",
      "c:5:1: unknown key \"password\", the keys here are admin audit brake history identity limits listen loops node origin policy publish push shadow sources staleAfter state tls"
    ),
    (
      "policy: again",
      "c:5:1: the key \"policy\" is written twice, it stands at line 4 already, remove one of them"
    ),
    ("node: \(String(repeating: "n", count: 254))", "c:5:7: node has more than 253 bytes"),
  ])
  func oneMoreLine(_ line: String, _ expected: String) {
    #expect(read(minimal(line), file: "c").1 == [expected])
  }

  @Test func everythingIsToldAtOnce() {
    let (configuration, problems) = read(
      "nod: a\nlisten: [{address: x}]\nlimits: {clients: 0}\nloops: many\n", file: "c")
    #expect(configuration == nil)
    #expect(
      problems == [
        "c:1:1: the key \"identity\" is missing", "c:1:1: the key \"policy\" is missing",
        "c:1:1: the key \"sources\" is missing", "c:1:1: unknown key \"nod\", did you mean \"node\"?",
        "c:2:20: listen.address is \"x\", which has no port, write it like host:15010",
        "c:3:19: limits.clients is out of range, it must be 1 to 10000000",
        "c:4:8: loops is \"many\", it must be a whole number",
      ])
  }

  @Test func aFileThatIsNotThere() {
    let (configuration, problems) = RelayConfiguration.load(path: "/nonexistent/c.yaml")
    #expect(configuration == nil)
    #expect(
      problems.map(\.description) == [
        "/nonexistent/c.yaml:1:1: cannot be read, no such file or directory, create it or correct the path"
      ])
  }

  @Test(arguments: 0..<8)
  func damagedFilesNeverTrap(_ seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let whole = minimal(
      "tls: {minimum: 1.2}\nadmin: [\"unix:///a\"]\nlimits: {clients: 9, drain: 5s}\naudit: {keep: 3d}\n")
    let noise = Array("{}[],:&*!'\"\n -#%@/0aZ\u{0}\t".utf8)
    for _ in 0..<500 {
      var bytes = Array(whole.utf8)
      for _ in 0..<Int.random(in: 1...5, using: &generator) {
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<3, using: &generator) {
        case 0: bytes[place] = noise.randomElement(using: &generator) ?? 0
        case 1: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
        default:
          bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...9, using: &generator)))
        }
        if bytes.isEmpty { bytes = [0x20] }
      }
      for file in [
        RelayConfiguration.parse(bytes, file: "c").problems,
        CompanionConfiguration.parse(bytes, file: "c").problems,
      ] {
        #expect(file.allSatisfy { !$0.description.contains("\n") }, "seed \(seed): \(bytes)")
      }
    }
  }
}
