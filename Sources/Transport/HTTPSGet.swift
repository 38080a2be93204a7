// One GET over TLS, from the name to the whole response: for documents that are fetched now and then, such as the
// bundles of other trust domains. Nothing is kept for a next time.
//
//     resolving ─► connecting ─► handshaking ─► asking ─► over
//                     ▲  │ next address  │
//                     └──┴───────────────┘
//
// Who the server must be is the matter of the verifier in the TLS context. One deadline covers everything.

public import Primitives
public import Ring
public import TLS

/// `https://host:port/path`, without user information and fragment.
public struct HTTPSTarget: Hashable, Sendable, CustomStringConvertible {
  /// A DNS name, or an IP address without brackets.
  public let host: String
  public let port: UInt16
  /// With its query; begins with a slash.
  public let path: String

  public init(host: String, port: UInt16, path: String) {
    self.host = host
    self.port = port
    self.path = path
  }

  /// Reads an absolute URL, as a redirection gives it; nil for anything else.
  public init?(url text: String) {
    let scheme = "https://"
    guard text.lowercased().hasPrefix(scheme), !text.contains("#"), text.utf8.count <= 4096,
      text.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
    else { return nil }
    let rest = text.dropFirst(scheme.count)
    let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    let authority = String(rest[..<end])
    guard !authority.contains("@"), let endpoint = Endpoint(authority) ?? Endpoint(authority + ":443") else {
      return nil
    }
    let path = String(rest[end...])
    self.init(host: endpoint.host, port: endpoint.port, path: path.hasPrefix("/") ? path : "/" + path)
  }

  var endpoint: Endpoint { Endpoint(host: host, port: port) }

  /// As the Host field has it.
  var authority: String {
    guard port == 443 else { return endpoint.description }
    return host.contains(":") ? "[\(host)]" : host
  }

  public var description: String { "https://\(authority)\(path)" }
}

public final class HTTPSGet: SocketHandler, TimerHandler {
  public enum Outcome: Sendable, Equatable {
    case response(HTTPResponse)
    /// A clause for people.
    case failed(String)
  }

  private enum Phase { case resolving, connecting, handshaking, asking, over }

  /// From the first step to the last byte. Reason: a document of some KiB from the other side of the world.
  private static let deadline: Duration = .seconds(20)

  private let target: HTTPSTarget
  private let context: TLSContext
  private let loop: EventLoop
  private let resolver: Resolver
  private var completion: ((Outcome) -> Void)?
  private var phase = Phase.resolving
  private var addresses: [SocketAddress] = []
  private var reason = ""
  private var socket: SocketID?
  private var engine: TLSEngine?
  private var reader: HTTPResponseReader
  private let opened = IOBuffer()
  /// Ciphertext that waits while a send is under way.
  private var pending = IOBuffer()
  private var sendInFlight = false
  private var timer = TimerID.none

  /// - Parameters:
  ///   - bodyBytesMax: of the response.
  ///   - completion: called once, on the loop, unless cancelled.
  public init(
    _ target: HTTPSTarget, context: TLSContext, resolver: Resolver, loop: EventLoop, bodyBytesMax: Int,
    completion: @escaping (Outcome) -> Void
  ) {
    self.target = target
    self.context = context
    self.loop = loop
    self.resolver = resolver
    self.completion = completion
    reader = HTTPResponseReader(bodyBytesMax: bodyBytesMax)
  }

  public func start() {
    timer = loop.schedule(at: loop.now + HTTPSGet.deadline, self, tag: 0)
    resolver.resolve(target.endpoint) { [weak self] answer in
      guard let self, phase == .resolving else { return }
      switch answer {
      case .addresses(let addresses):
        self.addresses = addresses
        tryNext()
      case .failed(let reason): finish(.failed("\(target.host): \(reason)"))
      }
    }
  }

  public func cancel() {
    completion = nil
    finish(.failed("cancelled"))
  }

  public func timerFired(_ id: TimerID, tag: Int) { finish(.failed("no answer within 20 s")) }

  // MARK: reaching the server

  private func tryNext() {
    leaveSocket()
    guard !addresses.isEmpty else { return finish(.failed(reason)) }
    let address = addresses.removeFirst()
    do throws(TLSError) {
      engine = try TLSEngine(context: context, serverName: target.host)
    } catch {
      return finish(.failed(error.description))
    }
    phase = .connecting
    socket = loop.connect(to: address, self)
  }

  /// This address does not do; another may.
  private func failed(_ what: String) {
    reason = what
    // Once asked, the server was the right one: its other addresses know no better.
    if phase == .asking { finish(.failed(what)) } else { tryNext() }
  }

  public func socketConnected(_ socket: SocketID) {
    guard socket == self.socket, phase == .connecting, let engine else { return }
    phase = .handshaking
    advance(engine.start(output: pending))
    flush()
  }

  public func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    guard socket == self.socket, phase == .handshaking || phase == .asking, let engine else { return }
    let progress = unsafe engine.receive(bytes, plaintext: opened, output: pending)
    defer { opened.removeAll() }
    advance(progress)
    flush()
  }

  private func advance(_ progress: TLSEngine.Progress) {
    switch progress {
    case .handshaking: break
    case .established:
      if phase == .handshaking { ask() }
      receivedPlaintext()
    case .closedByPeer:
      receivedPlaintext()
      receivedEnd()
    case .failed(let error): failed(error.what)
    }
  }

  // MARK: question and answer

  private func ask() {
    guard let engine else { return }
    phase = .asking
    let request = Array(
      ("GET \(target.path) HTTP/1.1\r\nHost: \(target.authority)\r\nUser-Agent: meshrelay\r\n"
        + "Accept: application/json\r\nConnection: close\r\n\r\n").utf8)
    let plaintext = IOBuffer()
    plaintext.append(request)
    do throws(TLSError) {
      try unsafe engine.send(plaintext.readable, output: pending)
    } catch {
      failed(error.what)
    }
  }

  private func receivedPlaintext() {
    guard phase == .asking, !opened.isEmpty else { return }
    do throws(HTTPFault) {
      try unsafe reader.receive(opened.readable)
    } catch {
      return failed(error.reason)
    }
    if let response = reader.response { finish(.response(response)) }
  }

  private func receivedEnd() {
    guard phase == .asking else { return failed("the server ended the connection") }
    do throws(HTTPFault) { try reader.receiveEnd() } catch { return failed(error.reason) }
    if let response = reader.response { finish(.response(response)) }
  }

  private func flush() {
    guard let socket, !sendInFlight, !pending.isEmpty, phase != .over else { return }
    sendInFlight = true
    let full = pending
    pending = IOBuffer()
    loop.send(socket, full)
  }

  public func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) {
    guard socket == self.socket else { return }
    sendInFlight = false
    flush()
  }

  public func socketReachedEnd(_ socket: SocketID) {
    guard socket == self.socket, phase == .handshaking || phase == .asking else { return }
    // An end without close_notify may be anybody's: what was not whole by then is not believed.
    failed("the connection ended without TLS close_notify")
  }

  public func socketFailed(_ socket: SocketID, _ error: RingError) {
    guard socket == self.socket else { return }
    sendInFlight = false
    failed(error.what)
  }

  public func socketClosed(_ socket: SocketID) {}

  // MARK: the end

  private func leaveSocket() {
    if let socket { loop.close(socket) }
    socket = nil
    engine = nil
    sendInFlight = false
    pending = IOBuffer()
  }

  private func finish(_ outcome: Outcome) {
    guard phase != .over else { return }
    phase = .over
    loop.cancel(timer)
    leaveSocket()
    let completion = completion
    self.completion = nil
    completion?(outcome)
  }
}
