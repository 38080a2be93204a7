// A control plane with one stream, in any dialect.

import GRPC
import Primitives
import Protos
import Ring
import SwiftProtobuf
import TLS
import TestCertificates
import Testing
import Transport

final class StagedClient: DialerOwner, CallHandler {
  private let network: SimulatedNetwork
  private let loop: EventLoop
  private let dial: Dial
  private let dialect: StagedDialect
  private(set) var connection: Connection?
  private(set) var call: Call?
  private(set) var held: Set<String> = []
  private(set) var responses = 0
  /// Types that were answered, as the answers called them.
  private(set) var answered: Set<String> = []
  private(set) var status: GRPCStatus?
  private(set) var dialReasons: [String]?
  private(set) var isClosed = false
  /// When its stream ended.
  private(set) var endedAt: Instant?
  var acknowledges = true
  /// What it says to every response instead of yes.
  var refusal: String?
  /// Hears of every response before it is answered.
  var onResponse: ((StagedDialect.Response) -> Void)?

  init(
    _ identity: TestIdentity, on network: SimulatedNetwork, host: String, dialect: StagedDialect, reads: Bool
  ) throws {
    self.network = network
    self.dialect = dialect
    loop = EventLoop(driver: SimulatedDriver(network: network, host: host))
    let context = try TLSContext(
      role: .client, chain: identity.chain, key: PrivateKey(der: identity.secret), verifier: { _ in .accept })
    let relay = network.address(of: "relay", port: 15010)
    dial = Dial(
      try #require(Endpoint(relay.description)), security: .tls(context, serverName: nil),
      resolver: Resolver(worker: InlineWorker(), limits: Limits(), wake: {}), loop: loop, limits: Limits(),
      memory: LoopMemory())
  }

  func start() { dial.start(self) }

  func hangUp() { dial.cancel() }

  func connectionVerified(_ connection: Connection) {}
  func connectionReady(_ connection: Connection) {
    self.connection = connection
    openStream()
  }

  /// Opens a stream and asks for VirtualServices.
  func openStream() {
    status = nil
    call = connection?.open(path: dialect.path, authority: "relay", self)
    send(dialect.request())
  }

  /// Asks for another type on the same stream.
  func ask(for typeName: String) { send(dialect.request(typeName)) }

  func send(_ bytes: [UInt8]) { call?.send(head: bytes) }

  /// A delta request that only says what the client calls itself.
  func requestNaming(_ node: String, _ metadata: Google_Protobuf_Struct? = nil) -> [UInt8] {
    var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
    request.node.id = node
    if let metadata { request.node.metadata = metadata }
    request.typeURL = virtualServiceURL
    request.resourceNamesUnsubscribe = ["foo/nothing"]
    return (try? request.serializedBytes()) ?? []
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    nil
  }
  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) { isClosed = true }
  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) { dialReasons = reasons }

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) {
    self.status = status
    endedAt = loop.now
  }

  func call(_ call: Call, received message: [UInt8]) {
    guard let response = dialect.read(message) else { return }
    responses += 1
    onResponse?(response)
    answered.insert(response.typeName)
    if response.typeName == dialect.typeName {
      if response.isWhole { held = response.names } else { held.formUnion(response.names) }
      held.subtract(response.removed)
    }
    guard acknowledges else { return }
    call.send(head: dialect.request(response.typeName, answering: response, refusal: refusal))
  }
}

/// One call that collects what it is answered.
final class StagedCall: CallHandler {
  private(set) var messages: [[UInt8]] = []
  private(set) var status: GRPCStatus?
  private var call: Call?

  /// Opens a call and sends `requests`; `ends`: and nothing after them.
  init(_ path: String, on client: StagedClient, _ requests: [[UInt8]], ends: Bool = true) {
    call = client.connection?.open(path: path, authority: "relay", self)
    for request in requests { call?.send(head: request) }
    if ends { call?.end() }
  }

  func send(_ request: [UInt8]) { call?.send(head: request) }
  func end() { call?.end() }
  func cancel() { call?.cancel() }

  func callAccepted(_ call: Call) {}
  func call(_ call: Call, received message: [UInt8]) { messages.append(message) }
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) { self.status = status }
}
