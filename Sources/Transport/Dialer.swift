// Turns an endpoint into a verified connection: resolve, try its addresses one after the other, TLS.

public import GRPC
public import Primitives
public import Ring
import TLS

/// What a dial ends in. Called on the loop, once per `dial`.
public protocol DialerOwner: ConnectionOwner {
  /// No address of `endpoint` could be reached or verified; `reasons` has one entry per try.
  func dialFailed(_ endpoint: Endpoint, _ reasons: [String])
}

/// One attempt to reach one endpoint. `cancel()` is safe at any time.
public final class Dial: ConnectionOwner {
  private let endpoint: Endpoint
  private let security: Connection.Security
  private let loop: EventLoop
  private let limits: Limits
  private let memory: LoopMemory
  private let resolver: Resolver
  /// Told of every handshake that ends, nil when it ends well: a dial may take several.
  private let handshook: (ConnectionEnd?) -> Void
  private weak var owner: (any DialerOwner)?
  private var addresses: [SocketAddress] = []
  private var reasons: [String] = []
  private var connection: Connection?
  private var verified = false
  private var over = false

  public init(
    _ endpoint: Endpoint, security: Connection.Security, resolver: Resolver, loop: EventLoop,
    limits: Limits, memory: LoopMemory, handshook: @escaping (ConnectionEnd?) -> Void = { _ in }
  ) {
    self.handshook = handshook
    self.endpoint = endpoint
    self.security = security
    self.loop = loop
    self.limits = limits
    self.memory = memory
    self.resolver = resolver
  }

  /// Begins; the owner may hear of the result before this returns.
  public func start(_ owner: any DialerOwner) {
    self.owner = owner
    resolver.resolve(endpoint) { [weak self] answer in
      switch answer {
      case .addresses(let addresses):
        self?.addresses = addresses
        self?.tryNext()
      case .failed(let reason):
        guard let self else { return }
        reasons.append("\(endpoint.host): \(reason)")
        tryNext()
      }
    }
  }

  public func cancel() {
    over = true
    owner = nil
    connection?.close(.closedHere(GRPCStatus(.cancelled, "no longer needed")))
    connection = nil
  }

  private func tryNext() {
    guard !over else { return }
    guard !addresses.isEmpty else {
      over = true
      let owner = owner
      self.owner = nil
      owner?.dialFailed(endpoint, reasons)
      return
    }
    let address = addresses.removeFirst()
    do throws(TLSError) {
      connection = try Connection(
        dialling: address, security: security, loop: loop, limits: limits, memory: memory, owner: self)
    } catch {
      reasons.append("\(address): \(error)")
      tryNext()
    }
  }

  public func connectionVerified(_ connection: Connection) {
    verified = true
    handshook(nil)
    owner?.connectionVerified(connection)
  }

  public func connectionReady(_ connection: Connection) {
    owner?.connectionReady(connection)
  }

  public func connection(_ connection: Connection, opened call: Call, head: RequestHead)
    -> (any CallHandler)?
  { nil }

  public func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    guard connection === self.connection else { return }
    self.connection = nil
    if verified {
      over = true
      let owner = owner
      self.owner = nil
      owner?.connectionClosed(connection, reason)
    } else {
      if reason.isOfHandshake { handshook(reason) }
      reasons.append("\(connection.peer): \(reason.description)")
      tryNext()
    }
  }
}
