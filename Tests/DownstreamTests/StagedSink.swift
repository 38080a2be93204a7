// A Pilot that waits for its source to call: a server of `ResourceSink` on the simulated network, speaking
// generated messages.

import GRPC
import Primitives
import Protos
import Ring
import SwiftProtobuf
import TLS
import TestCertificates
import Transport

final class StagedSink: ListenerOwner, CallHandler {
  static let port: UInt16 = 9901
  static let collection = "istio/networking/v1alpha3/virtualservices"

  let loop: EventLoop
  private let context: TLSContext
  private var listener: Listener?
  private var connections: [Connection] = []
  private(set) var calls = 0
  private(set) var triggers = 0
  private(set) var held: Set<String> = []
  private(set) var responses = 0
  private(set) var endedCalls = 0
  private var call: Call?
  var isIncremental = false

  init(_ identity: TestIdentity, on network: SimulatedNetwork, host: String) throws {
    loop = EventLoop(driver: SimulatedDriver(network: network, host: host))
    context = try TLSContext(
      role: .server, chain: identity.chain, key: PrivateKey(der: identity.secret), verifier: { _ in .accept })
    listener = try Listener(
      address: network.address(of: host, port: StagedSink.port), loop: loop, limits: Limits(),
      memory: LoopMemory(), owner: self)
  }

  func hangUp() {
    for connection in connections { connection.close(.closedHere(GRPCStatus(.unavailable, "restarting"))) }
  }

  /// Ends the stream in good order.
  func finish() { call?.finish(GRPCStatus(.resourceExhausted, "message too large")) }

  func send(_ bytes: [UInt8]) { call?.send(head: bytes) }

  func securityForNewConnection(on listener: Listener) -> Connection.Security? {
    .tls(context, serverName: nil)
  }
  func listener(_ listener: Listener, accepted connection: Connection) { connections.append(connection) }
  func connectionVerified(_ connection: Connection) {}
  func connectionReady(_ connection: Connection) {}
  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    connections.removeAll { $0 === connection }
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    guard head.path == "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream" else { return nil }
    calls += 1
    self.call = call
    var request = Istio_Mcp_V1alpha1_RequestResources()
    request.sinkNode.id = "pilot"
    request.collection = StagedSink.collection
    request.incremental = isIncremental
    answer(call, request)
    return self
  }

  private func answer(_ call: Call, _ request: Istio_Mcp_V1alpha1_RequestResources) {
    if let bytes: [UInt8] = try? request.serializedBytes() { call.send(head: bytes) }
  }

  func call(_ call: Call, received message: [UInt8]) {
    guard let resources = try? Istio_Mcp_V1alpha1_Resources(serializedBytes: message) else { return }
    var request = Istio_Mcp_V1alpha1_RequestResources()
    request.collection = resources.collection
    request.responseNonce = resources.nonce
    if resources.collection == "$triggerCollection" {
      triggers += 1
      request.errorDetail.code = 12
    } else {
      responses += 1
      let names = Set(resources.resources.map(\.metadata.name))
      held = resources.incremental ? held.union(names).subtracting(resources.removedResources) : names
    }
    answer(call, request)
  }

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) { endedCalls += 1 }
}
