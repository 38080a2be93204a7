// `meshrelay subscribe`: a client of any ADS server for people and scripts. One JSON line a response.
//
// It speaks the wire for itself instead of reusing the relay's own subscriber: what a server says is
// printed as it was said, also when a relay would have refused it.

import GRPC
import Primitives
import Ring
public import SPIFFE
import Snapshots
import TLS
public import Transport
public import Trust
public import XDS

public struct SubscribeCommand: Sendable {
  public var endpoint: Endpoint
  /// Type URLs as they are asked for: `group/version/Kind`.
  public var typeURLs: [String]
  public var credentials: Credentials
  /// Who must answer; nil accepts every verified identity of a known trust domain.
  public var server: SPIFFEPattern?
  public var dialect: ADSDialect
  /// Ends when each type was answered.
  public var once: Bool
  /// The node id sent along; a label, never proof.
  public var node: String

  public init(
    endpoint: Endpoint, typeURLs: [String], credentials: Credentials, server: SPIFFEPattern?,
    dialect: ADSDialect, once: Bool, node: String
  ) {
    self.endpoint = endpoint
    self.typeURLs = typeURLs
    self.credentials = credentials
    self.server = server
    self.dialect = dialect
    self.once = once
    self.node = node
  }

  /// Returns the exit code: 0 when all was answered, 1 when the server refused, 69 when it cannot be reached.
  public func run() -> Int32 {
    do throws(RingError) {
      let loop = EventLoop(driver: try makeDriver(nil))
      let session = SubscribeSession(self, loop: loop)
      session.start()
      loop.run()
      return session.exitCode
    } catch {
      printError("meshrelay subscribe: \(error)\n")
      return 69
    }
  }
}

/// One stream, from dialling to its end.
private final class SubscribeSession: DialerOwner, CallHandler {
  private let command: SubscribeCommand
  private let loop: EventLoop
  private let resolver: Resolver
  private var dial: Dial?
  private var unanswered: Set<String>
  private(set) var exitCode: Int32 = 69
  /// The exit code is final.
  private var isDone = false

  init(_ command: SubscribeCommand, loop: EventLoop) {
    self.command = command
    self.loop = loop
    unanswered = Set(command.typeURLs)
    // The command has nothing else to do while a name is looked up.
    resolver = Resolver(worker: InlineWorker(), limits: Limits(), wake: loop.waker)
    loop.onWake = { [resolver] in resolver.deliver() }
  }

  func start() {
    do throws(TLSError) {
      let context = try TLSContext(
        role: .client, chain: command.credentials.svid.chain, key: command.credentials.svid.key,
        minimum: .tls12,
        verifier: { [weak self] chain in self?.judge(chain) ?? .reject(.accessDenied, reason: "over") })
      let name = command.endpoint.literal == nil ? command.endpoint.host : nil
      let dial = Dial(
        command.endpoint, security: .tls(context, serverName: name), resolver: resolver, loop: loop,
        limits: Limits(), memory: LoopMemory())
      self.dial = dial
      dial.start(self)
    } catch {
      end(64, error.description)
    }
  }

  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    do throws(VerificationFailure) {
      let peer = try verifyPeer(
        chain: chain, bundles: command.credentials.bundles, at: loop.wallClock, role: .server)
      if let server = command.server { _ = try peer.authorized(as: server) }
      return .accept
    } catch {
      return error.verdict
    }
  }

  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) {
    end(69, "cannot reach \(endpoint): " + reasons.joined(separator: "; "))
  }

  func connectionVerified(_ connection: Connection) {}

  func connectionReady(_ connection: Connection) {
    let call = connection.open(
      path: command.dialect.path, authority: command.endpoint.description, self)
    connection.batch {
      for (index, typeURL) in command.typeURLs.enumerated() {
        call?.send(
          head: DiscoveryMessages.request(command.dialect, typeURL, node: index == 0 ? command.node : nil))
      }
    }
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    nil
  }

  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    guard !isDone else { return loop.stop() }
    end(69, "lost \(connection.peer): \(reason)")
  }

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}

  func call(_ call: Call, received message: [UInt8]) {
    do throws(ProtobufError) {
      let response = try DiscoveryMessages.response(command.dialect, message)
      printText(response.json + "\n")
      call.send(head: DiscoveryMessages.acknowledgement(command.dialect, response))
      unanswered.remove(response.typeURL)
      if command.once, unanswered.isEmpty { hangUp(call) }
    } catch {
      end(1, "the server's response is not a discovery response: \(error)")
    }
  }

  /// Everything was answered. The last acknowledgements still leave; the loop ends with the connection.
  private func hangUp(_ call: Call) {
    exitCode = 0
    isDone = true
    call.end()
    call.connection?.close(.closedHere(GRPCStatus(.ok, "done")))
  }

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    guard !isDone else { return }
    end(status.code == .ok ? 0 : 1, "the server ended the stream: \(status)")
  }

  private func end(_ code: Int32, _ message: String) {
    guard !isDone else { return }
    isDone = true
    exitCode = code
    printError("meshrelay subscribe: \(message)\n")
    loop.stop()
  }
}
