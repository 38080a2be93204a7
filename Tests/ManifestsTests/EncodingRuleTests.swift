// Goal: every rule by which Istio reads JSON and YAML into protobuf, one table each.
// Method: a short spec and the bytes it must give, worked out by hand from field numbers and wire types; or the
// problem it must give and where.

import Documents
import Manifests
import Primitives
import Snapshots
import Testing

struct RuleCase: Sendable, CustomTestStringConvertible {
  let kind: String
  let spec: String
  /// Hex of the body.
  let hex: String

  init(_ kind: String, _ spec: String, _ hex: String) {
    self.kind = kind
    self.spec = spec
    self.hex = hex
  }

  var testDescription: String { "\(kind) \(spec)" }
}

/// A manifest with its spec on line 4, from column 7 on.
func manifest(_ kind: String, spec: String) -> String {
  let versions = [
    "VirtualService": "networking.istio.io/v1", "DestinationRule": "networking.istio.io/v1",
    "EnvoyFilter": "networking.istio.io/v1alpha3", "PeerAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1", "Telemetry": "telemetry.istio.io/v1",
    "WasmPlugin": "extensions.istio.io/v1alpha1", "ProxyConfig": "networking.istio.io/v1beta1",
    "Gateway": "networking.istio.io/v1", "ServiceEntry": "networking.istio.io/v1",
    "WorkloadEntry": "networking.istio.io/v1", "WorkloadGroup": "networking.istio.io/v1",
  ]
  return """
    apiVersion: \(versions[kind] ?? "")
    kind: \(kind)
    metadata: {name: x, namespace: prod}
    spec: \(spec)
    """
}

@Suite struct EncodingRuleTests {
  static let cases = [
    // Names: camel and proto spelling; both given: camel wins, wherever it stands.
    RuleCase("VirtualService", "{exportTo: ['.']}", "32012e"),
    RuleCase("VirtualService", "{export_to: ['.']}", "32012e"),
    RuleCase("VirtualService", "{export_to: [a], exportTo: ['.']}", "32012e"),
    RuleCase("VirtualService", "{exportTo: ['.'], export_to: [a]}", "32012e"),
    RuleCase("EnvoyFilter", "{targetRefs: [{name: a}]}", "32031a0161"),
    // Null is unset; an empty object is present.
    RuleCase("PeerAuthentication", "{mtls: null}", ""),
    RuleCase("PeerAuthentication", "{mtls: ~}", ""),
    RuleCase("PeerAuthentication", "{mtls: {}}", "1200"),
    // Integers, bare, quoted, as whole fractions, in YAML's other bases.
    RuleCase("WorkloadEntry", "{weight: 10}", "300a"),
    RuleCase("WorkloadEntry", "{weight: '10'}", "300a"),
    RuleCase("WorkloadEntry", "{weight: 10.0}", "300a"),
    RuleCase("WorkloadEntry", "{weight: 1e1}", "300a"),
    RuleCase("WorkloadEntry", "{weight: 0xA}", "300a"),
    RuleCase("WorkloadEntry", "{weight: 012}", "300a"),
    RuleCase("WorkloadEntry", "{weight: 4294967295}", "30ffffffff0f"),
    RuleCase("EnvoyFilter", "{priority: -1}", "28ffffffffffffffffff01"),
    RuleCase("EnvoyFilter", "{priority: -2147483648}", "2880808080f8ffffffff01"),
    // Zero is left out, except in wrappers and oneofs.
    RuleCase("EnvoyFilter", "{priority: 0}", ""),
    RuleCase("ProxyConfig", "{concurrency: 0}", "1200"),
    RuleCase("ProxyConfig", "{concurrency: 2}", "12020802"),
    RuleCase("DestinationRule", "{trafficPolicy: {loadBalancer: {simple: UNSPECIFIED}}}", "12040a020800"),
    RuleCase(
      "DestinationRule", "{trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: false}}}}",
      "12060a0412021800"),
    // Doubles.
    RuleCase("Telemetry", "{tracing: [{randomSamplingPercentage: 1}]}", "120b1a0909000000000000f03f"),
    RuleCase("Telemetry", "{tracing: [{randomSamplingPercentage: '1.0'}]}", "120b1a0909000000000000f03f"),
    RuleCase(
      "Telemetry", "{tracing: [{randomSamplingPercentage: \"Infinity\"}]}", "120b1a0909000000000000f07f"),
    RuleCase("Telemetry", "{tracing: [{randomSamplingPercentage: 0.0}]}", "12021a00"),
    // Booleans by YAML 1.1.
    RuleCase("Telemetry", "{tracing: [{disableSpanReporting: true}]}", "120422020801"),
    RuleCase("Telemetry", "{tracing: [{disableSpanReporting: on}]}", "120422020801"),
    RuleCase("Telemetry", "{tracing: [{disableSpanReporting: Yes}]}", "120422020801"),
    RuleCase("Telemetry", "{tracing: [{disableSpanReporting: n}]}", "12022200"),
    // Enums by name and number.
    RuleCase("PeerAuthentication", "{mtls: {mode: STRICT}}", "12020803"),
    RuleCase("PeerAuthentication", "{mtls: {mode: 3}}", "12020803"),
    RuleCase("PeerAuthentication", "{mtls: {mode: UNSET}}", "1200"),
    // Durations in Go's syntax.
    RuleCase("VirtualService", "{http: [{timeout: 10s}]}", "1a043202080a"),
    RuleCase("VirtualService", "{http: [{timeout: 1m30s}]}", "1a043202085a"),
    RuleCase("VirtualService", "{http: [{timeout: 0.5s}]}", "1a0832061080cab5ee01"),
    RuleCase("VirtualService", "{http: [{timeout: 1.5h}]}", "1a05320308982a"),
    RuleCase("VirtualService", "{http: [{timeout: 100ms}]}", "1a0732051080c2d72f"),
    RuleCase("VirtualService", "{http: [{timeout: 0s}]}", "1a023200"),
    RuleCase(
      "VirtualService", "{http: [{timeout: -1.5s}]}", "1a18321608ffffffffffffffffff011080b6ca91feffffffff01"),
    // Struct: numbers are doubles, null is a value, keys are sorted.
    RuleCase(
      "WasmPlugin", "{pluginConfig: {b: null, a: 1}}",
      "3a190a0e0a0161120911000000000000f03f0a070a016212020800"),
    RuleCase("WasmPlugin", "{pluginConfig: {}}", "3a00"),
    RuleCase("WasmPlugin", "{pluginConfig: {a: {b: []}}}", "3a120a100a0161120b2a090a070a016212023200"),
    // Base64.
    RuleCase(
      "VirtualService", "{http: [{directResponse: {status: 200, body: {bytes: aGk=}}}]}",
      "1a0caa010908c801120412026869"),
    // Maps: sorted by key; integer keys as YAML writes them.
    RuleCase("WorkloadEntry", "{labels: {b: '2', a: '1'}}", "1a060a01611201311a060a0162120132"),
    RuleCase("WorkloadEntry", "{ports: {http: 80}}", "12080a04687474701050"),
    RuleCase(
      "PeerAuthentication", "{portLevelMtls: {443: {mode: STRICT}, '80': {}}}",
      "1a0408501200" + "1a0708bb0312020803"),
    RuleCase("PeerAuthentication", "{portLevelMtls: {0x50: {}}}", "1a0408501200"),
    // Packed lists; empty list is unset.
    RuleCase(
      "DestinationRule", "{trafficPolicy: {outlierDetection: {outlierDetectionHttpErrorCodes: [1, 300]}}}",
      "12071a055203" + "01ac02"),
    RuleCase("VirtualService", "{hosts: []}", ""),
    RuleCase("AuthorizationPolicy", "{rules: [{}]}", "1200"),
    // Text stays text when quoted.
    RuleCase("VirtualService", "{hosts: ['yes', \"1\"]}", "0a037965730a0131"),
    RuleCase("VirtualService", "{hosts: [2026-01-02]}", "0a0a323032362d30312d3032"),
  ]

  @Test(arguments: cases)
  func specGivesBytes(_ rule: RuleCase) throws {
    let body = try encodedBody(manifest(rule.kind, spec: rule.spec))
    #expect(Hex.encode(body) == rule.hex)
  }

  /// What the encoder writes is what the canonical form of it is: hashes made here and at later tiers agree.
  @Test(arguments: cases)
  func encodedBytesAreCanonical(_ rule: RuleCase) throws {
    let text = manifest(rule.kind, spec: rule.spec)
    let object = try #require(ManifestFile.read(Array(text.utf8), file: "x.yaml").objects.first)
    let draft = object.draft(source: "test", firstSeen: Timestamp(seconds: 0))
    #expect(CanonicalForm().canonicalBody(draft.body, message: draft.bodyMessage) == draft.body)
  }
}

struct ProblemCase: Sendable, CustomTestStringConvertible {
  let kind: String
  let spec: String
  let column: Int
  /// Parts the problem's text must have.
  let says: [String]

  init(_ kind: String, _ spec: String, column: Int, _ says: String...) {
    self.kind = kind
    self.spec = spec
    self.column = column
    self.says = says
  }

  var testDescription: String { "\(kind) \(spec)" }
}

@Suite struct EncodingProblemTests {
  static let cases = [
    ProblemCase("VirtualService", "{hots: [a]}", column: 8, "has no field \"hots\"", "write \"hosts\""),
    ProblemCase(
      "VirtualService", "{http: [{timeout: 10}]}", column: 25, "HTTPRoute.timeout", "the number 10", "10s"),
    ProblemCase("VirtualService", "{http: [{timeout: 10sec}]}", column: 25, "duration"),
    ProblemCase("VirtualService", "{hosts: a}", column: 15, "a list", "- "),
    ProblemCase("VirtualService", "{hosts: [80]}", column: 16, "the number 80", "\"80\""),
    ProblemCase("VirtualService", "{hosts: [yes]}", column: 16, "the boolean yes", "\"yes\""),
    ProblemCase("VirtualService", "{hosts: [null]}", column: 16, "null"),
    ProblemCase("WorkloadEntry", "{weight: 1.5}", column: 16, "1.5", "an integer from 0 to 4294967295"),
    ProblemCase("WorkloadEntry", "{weight: -1}", column: 16, "an integer from 0 to 4294967295"),
    ProblemCase("WorkloadEntry", "{weight: 4294967296}", column: 16, "4294967296"),
    ProblemCase("WorkloadEntry", "{weight: '0x10'}", column: 16, "an integer"),
    ProblemCase("WorkloadEntry", "{weight: ' 1'}", column: 16, "an integer"),
    ProblemCase("EnvoyFilter", "{priority: 2147483648}", column: 18, "from -2147483648 to 2147483647"),
    ProblemCase("Telemetry", "{tracing: [{disableSpanReporting: 'true'}]}", column: 41, "without quotes"),
    ProblemCase("Telemetry", "{tracing: [{randomSamplingPercentage: .inf}]}", column: 45, "\"Infinity\""),
    ProblemCase("Telemetry", "{tracing: [{randomSamplingPercentage: abc}]}", column: 45, "a number"),
    ProblemCase("PeerAuthentication", "{mtls: {mode: strict}}", column: 21, "write STRICT", "PERMISSIVE"),
    ProblemCase("PeerAuthentication", "{mtls: {mode: 1.5}}", column: 21, "one of UNSET"),
    ProblemCase("PeerAuthentication", "{mtls: {mode: '3'}}", column: 21, "has no value \"3\""),
    ProblemCase("PeerAuthentication", "{portLevelMtls: {http: {}}}", column: 24, "an integer from 0"),
    ProblemCase("PeerAuthentication", "{mtls: []}", column: 14, "a list", "an object"),
    ProblemCase(
      "VirtualService", "{http: [{fault: {abort: {httpStatus: 500, grpcStatus: A}}}]}", column: 49,
      "both given", "error_type"),
    ProblemCase("VirtualService", "{http: [{directResponse: {body: {bytes: '*'}}}]}", column: 47, "base64"),
    ProblemCase("WasmPlugin", "{pluginConfig: [1]}", column: 22, "an object"),
    ProblemCase("WasmPlugin", "{pluginConfig: {a: .nan}}", column: 26, "JSON"),
    ProblemCase("VirtualService", "{hosts: [!!binary aGk=]}", column: 16, "tag"),
    ProblemCase("VirtualService", "[]", column: 7, "an object"),
    ProblemCase("VirtualService", "text", column: 7, "an object"),
  ]

  @Test(arguments: cases)
  func problemNamesPlaceCauseAndFix(_ expected: ProblemCase) throws {
    let contents = ManifestFile.read(
      Array(manifest(expected.kind, spec: expected.spec).utf8), file: "a/x.yaml")
    #expect(contents.objects.isEmpty)
    #expect(contents.problems.count == 1)
    let problem = try #require(contents.problems.first)
    #expect("\(problem.position)" == "a/x.yaml:4:\(expected.column)")
    for part in expected.says { #expect(problem.description.contains(part), "\(problem)") }
  }

  @Test func allProblemsOfASpecAreReportedAtOnce() {
    let text = manifest(
      "VirtualService", spec: "{hots: [], hosts: [1], http: [{timeout: 5, retries: {attemts: 3}}]}")
    let contents = ManifestFile.read(Array(text.utf8), file: "x.yaml")
    #expect(contents.problems.count == 4)
  }
}
