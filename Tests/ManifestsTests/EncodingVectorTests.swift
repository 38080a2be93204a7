// Goal: manifests become exactly the bytes that Istio's own schema gives.
// Method: bodies made with Google's Python protobuf from Istio's descriptors (fields in number order, maps
// sorted), compared with ours byte for byte; every body must also be its own canonical form.

import Documents
import Manifests
import Primitives
import Snapshots
import Testing

struct EncodingVector: Sendable, CustomTestStringConvertible {
  let kind: String
  let apiVersion: String
  let message: String
  let spec: String
  let hex: String

  var testDescription: String { kind }

  var manifest: String {
    """
    apiVersion: \(apiVersion)
    kind: \(kind)
    metadata: {name: x, namespace: prod}
    spec:
    \(spec.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n"))
    """
  }

  static let all = [
    EncodingVector(
      kind: "VirtualService", apiVersion: "networking.istio.io/v1",
      message: "istio.networking.v1alpha3.VirtualService",
      spec: """
        hosts: [reviews.prod.svc.cluster.local]
        http:
        - timeout: 1.5s
          retries: {attempts: 3, retryRemoteLocalities: false}
          route:
          - destination: {host: reviews.prod.svc.cluster.local, subset: v1}
            weight: 90
          - destination: {host: reviews.prod.svc.cluster.local, port: {number: 8080}}
            weight: 10
        exportTo: ["."]
        """,
      hex: "0a1e726576696577732e70726f642e7376632e636c75737465722e6c6f63616c1a6512280a240a1e72657669657773"
        + "2e70726f642e7376632e636c75737465722e6c6f63616c12027631105a12290a250a1e726576696577732e70726f642e"
        + "7376632e636c75737465722e6c6f63616c1a0308903f100a320808011080cab5ee013a040803220032012e"),
    EncodingVector(
      kind: "DestinationRule", apiVersion: "networking.istio.io/v1alpha3",
      message: "istio.networking.v1alpha3.DestinationRule",
      spec: """
        host: a.b
        trafficPolicy:
          tls: {mode: ISTIO_MUTUAL}
          loadBalancer: {simple: UNSPECIFIED}
          outlierDetection: {consecutive5xxErrors: 0, interval: 5m}
        """,
      hex: "0a03612e6212110a0208001a07120308ac023a0022020803"),
    EncodingVector(
      kind: "PeerAuthentication", apiVersion: "security.istio.io/v1beta1",
      message: "istio.security.v1beta1.PeerAuthentication",
      spec: """
        selector: {matchLabels: {app: x}}
        mtls: {mode: STRICT}
        portLevelMtls: {8080: {mode: DISABLE}}
        """,
      hex: "0a0a0a080a03617070120178120208031a0708903f12020801"),
    EncodingVector(
      kind: "AuthorizationPolicy", apiVersion: "security.istio.io/v1",
      message: "istio.security.v1beta1.AuthorizationPolicy",
      spec: "rules: [{}]\naction: DENY", hex: "12001801"),
    EncodingVector(
      kind: "EnvoyFilter", apiVersion: "networking.istio.io/v1alpha3",
      message: "istio.networking.v1alpha3.EnvoyFilter",
      spec: """
        configPatches:
        - applyTo: CLUSTER
          patch: {operation: MERGE, value: {a: 1, b: [true, null, "s"]}}
        """,
      hex: "222e08081a2a080112260a0e0a0161120911000000000000f03f0a140a0162120f320d0a0220010a0208000a031a0173"),
    EncodingVector(
      kind: "ServiceEntry", apiVersion: "networking.istio.io/v1beta1",
      message: "istio.networking.v1alpha3.ServiceEntry",
      spec: """
        hosts: [x.com]
        ports: [{number: 443, name: tls, protocol: TLS}]
        resolution: DNS
        location: MESH_INTERNAL
        """,
      hex: "0a05782e636f6d1a0d08bb031203544c531a03746c7320012802"),
  ]
}

/// The body of the one object in `manifest`; fails the test with the problems otherwise.
func encodedBody(_ manifest: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> [UInt8] {
  let contents = ManifestFile.read(Array(manifest.utf8), file: "x.yaml")
  #expect(contents.problems.map(\.description) == [], sourceLocation: sourceLocation)
  let object = try #require(contents.objects.first, sourceLocation: sourceLocation)
  return object.draft(source: "test", firstSeen: Timestamp(seconds: 0)).body
}

@Suite struct EncodingVectorTests {
  @Test(arguments: EncodingVector.all)
  func bytesAreTheReferenceBytes(_ vector: EncodingVector) throws {
    let body = try encodedBody(vector.manifest)
    #expect(Hex.encode(body) == vector.hex)
  }

  @Test(arguments: EncodingVector.all)
  func referenceBytesAreCanonical(_ vector: EncodingVector) throws {
    let bytes = try #require(Hex.decode(vector.hex))
    #expect(CanonicalForm().canonicalBody(bytes, message: vector.message) == bytes)
  }

  @Test func missingAndNullSpecAreEmptyMessages() throws {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny-all}\n"
    for spec in ["", "spec:\n", "spec: {}\n", "spec: null\n"] {
      #expect(try encodedBody(head + spec) == [])
    }
  }

  @Test func everyDescribedKindOfTheTableIsEncodable() {
    for kind in Kinds.all where kind.hasDescriptor {
      #expect(Schema.istio.contains(message: kind.bodyMessage), "\(kind.type)")
    }
    #expect(Schema.istio.contains(message: "istio.mesh.v1alpha1.MeshConfig"))
  }
}
