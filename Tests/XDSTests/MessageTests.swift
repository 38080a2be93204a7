// Goal: messages are those of Google's protobuf, and no bytes of a peer ever trap. Method: vectors made
// with Google's Python protobuf; damaged and random messages into both ends.

import Primitives
import Snapshots
import Testing

@testable import XDS

struct MessageTests {
  private static let policy = "security.istio.io/v1/AuthorizationPolicy"
  /// version_info 42, istiod's node, nonce 2.
  private static let acknowledgement =
    "0a0234321284010a46736964656361727e31302e302e302e377e697374696f642d35632e697374696f2d73797374656d7e69737469"
    + "6f2d73797374656d2e7376632e636c75737465722e6c6f63616c1a3a0a120a0947454e455241544f5212051a036170690a240a0d"
    + "495354494f5f56455253494f4e12131a1136353533362e36353533362e363535333622287365"
    + "63757269" + "74792e697374696f2e696f2f76312f417574686f72697a6174696f6e506f6c6963792a0132"
  private static let refusal =
    "222873656375726974792e697374696f2e696f2f76312f417574686f72697a6174696f6e506f6c6963792a0132320708031203626164"

  @Test func readsAndWritesWhatIstiodSends() throws {
    let bytes = try #require(Hex.decode(MessageTests.acknowledgement))
    let request = try DiscoveryRequest(bytes, namesMax: 10)
    #expect(request.versionInfo == "42")
    #expect(request.nodeID == "sidecar~10.0.0.7~istiod-5c.istio-system~istio-system.svc.cluster.local")
    #expect(request.typeURL == MessageTests.policy)
    #expect(request.nonce == "2")
    #expect(request.fault == nil)
    let node = Node(
      id: request.nodeID ?? "", metadata: ["ISTIO_VERSION": "65536.65536.65536", "GENERATOR": "api"],
      userAgentName: "")
    #expect(request.encoded(node: node) == bytes)
  }

  @Test func readsAndWritesARefusal() throws {
    let bytes = try #require(Hex.decode(MessageTests.refusal))
    let request = try DiscoveryRequest(bytes, namesMax: 10)
    #expect(request.fault == RequestFault(code: 3, message: "bad"))
    #expect(request.encoded(node: nil) == bytes)
  }

  @Test func readsAResponse() throws {
    let bytes = try #require(
      Hex.decode("0a0234322218636f72652f7631616c706861312f4d657368436f6e6669672a0131"))
    let response = try ReceivedResponse(bytes, dialect: .stateOfTheWorld)
    #expect(response.version == "42")
    #expect(response.typeURL == "core/v1alpha1/MeshConfig")
    #expect(response.nonce == "1")
    #expect(response.elements.isEmpty)
  }

  @Test func deltaRequestsSurviveTheRoundTrip() throws {
    var request = DeltaDiscoveryRequest()
    request.typeURL = MessageTests.policy
    request.subscribe = ["*", "a/b"]
    request.unsubscribe = ["c/d", ""]
    request.initialVersions = ["a/b": "1", "c/d": ""]
    request.nonce = "7"
    request.fault = RequestFault(code: -1, message: "x")
    var read = try DeltaDiscoveryRequest(request.encoded(node: Node(id: "n")), namesMax: 10)
    #expect(read.nodeID == "n")
    read.nodeID = nil
    #expect(read == request)
  }

  @Test(arguments: [ADSDialect.stateOfTheWorld, .delta])
  func randomBytesNeverTrap(dialect: ADSDialect) {
    var generator = SeededGenerator(seed: 5)
    let served = view(
      1, ["VirtualService": [resource("VirtualService", "a", "1"), resource("VirtualService", "b", "2")]])
    var server = ADSServer(dialect: dialect, limits: Limits())
    server.update(served)
    let request = Hex.decode(MessageTests.acknowledgement) ?? []
    try? server.receive(request, now: at(0))
    var subscriber = ADSSubscriber(
      ADSSubscriber.Settings(
        dialect: dialect, types: Kinds.all.map(\.typeURL), node: Node(id: "edge"), source: "s",
        upstream: "up", instance: "me", limits: Limits()))
    _ = subscriber.begin(held: [:], positions: [:], upstream: "up")
    var first = ADSServer(dialect: dialect, limits: Limits())
    first.update(served)
    try? first.receive(subscriberRequest(dialect), now: at(0))
    let response = (try? first.nextResponse(now: at(0)))?.bytes ?? []
    for _ in 0..<10_000 {
      try? server.receive(damaged(request, &generator), now: at(1))
      _ = try? server.nextResponse(now: at(1))
      _ = try? subscriber.receive(
        damaged(response, &generator), now: at(1), wallClock: Timestamp(seconds: 10_000))
      while server.nextEvent() != nil {}
      while subscriber.nextRequest() != nil {}
      while subscriber.nextEvent() != nil {}
    }
  }

  private func subscriberRequest(_ dialect: ADSDialect) -> [UInt8] {
    var request = DiscoveryRequest()
    request.typeURL = "networking.istio.io/v1/VirtualService"
    var delta = DeltaDiscoveryRequest()
    delta.typeURL = request.typeURL
    return dialect == .delta ? delta.encoded(node: nil) : request.encoded(node: nil)
  }

  private func damaged(_ whole: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
    guard !whole.isEmpty, Int.random(in: 0..<5, using: &generator) > 0 else {
      return (0..<Int.random(in: 0..<60, using: &generator)).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
    }
    var bytes = whole
    for _ in 0..<Int.random(in: 1...3, using: &generator) {
      bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
    }
    return bytes
  }
}
