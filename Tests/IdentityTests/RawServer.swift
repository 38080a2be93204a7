// A web server for one document at a time: OpenSSL driven directly, on the simulated network. It asks for no
// client certificate, as servers of bundles must not, so our own engine cannot be it.

import COpenSSL
import Primitives
import Ring
import TestCertificates

/// What it does with a request.
enum RawAnswer {
  /// Status line, fields and body as they go over the wire.
  case text([UInt8])
  /// These pieces, with a pause before each.
  case slowly([[UInt8]], pause: Duration)
  /// Nothing, ever.
  case silence
  /// Ends the connection without TLS close_notify, after these bytes.
  case cut([UInt8])

  static func ok(_ body: [UInt8], type: String = "application/json") -> RawAnswer {
    .text(
      Array("HTTP/1.1 200 OK\r\nContent-Type: \(type)\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body)
  }

  static func status(_ line: String, _ fields: String = "") -> RawAnswer {
    .text(Array("HTTP/1.1 \(line)\r\n\(fields)Content-Length: 0\r\n\r\n".utf8))
  }
}

final class RawServer: Acceptor {
  static let port: UInt16 = 8_443
  private let loop: EventLoop
  private let network: SimulatedNetwork
  private var listener: ListenerID?
  /// What it shows from the next connection on.
  var identity: TestIdentity
  /// By path, or for all.
  var answer = RawAnswer.silence
  var answers: [String: RawAnswer] = [:]
  /// Request heads, and when they came.
  fileprivate(set) var requests: [(head: String, at: Instant)] = []
  private(set) var accepted = 0
  private var visits: [RawVisit] = []

  init(_ network: SimulatedNetwork, identity: TestIdentity) {
    self.network = network
    self.identity = identity
    loop = EventLoop(driver: SimulatedDriver(network: network, host: "server"))
  }

  func listen() throws {
    listener = try loop.listen(at: network.address(of: "server", port: RawServer.port), backlog: 16, self)
  }

  func stop() {
    if let listener { loop.closeListener(listener) }
    listener = nil
  }

  func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? {
    accepted += 1
    let visit = RawVisit(identity, socket: socket, loop: loop) { [weak self] head in
      guard let self else { return .silence }
      requests.append((head, loop.now))
      let path = head.split(separator: " ").dropFirst().first.map(String.init) ?? ""
      return answers[path] ?? answer
    }
    visits.append(visit)
    return visit
  }
}

/// One connection.
@safe
private final class RawVisit: SocketHandler, TimerHandler {
  private let context: OpaquePointer
  private let connection: OpaquePointer
  private let input: OpaquePointer
  private let output: OpaquePointer
  private let socket: SocketID
  private let loop: EventLoop
  private let respond: (String) -> RawAnswer
  private var heard: [UInt8] = []
  private var isAnswered = false
  private var rest: [[UInt8]] = []
  private var pause = Duration.zero
  private var inFlight = false
  private var waiting: [UInt8] = []
  private var closesAfterwards = false

  init(
    _ identity: TestIdentity, socket: SocketID, loop: EventLoop, respond: @escaping (String) -> RawAnswer
  ) {
    self.socket = socket
    self.loop = loop
    self.respond = respond
    guard let context = unsafe SSL_CTX_new(TLS_server_method()) else {
      preconditionFailure("OpenSSL refused a server context")
    }
    unsafe SSL_CTX_use_certificate_ASN1(context, Int32(identity.chain[0].count), identity.chain[0])
    unsafe SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, context, identity.key, identity.key.count)
    guard let connection = unsafe SSL_new(context), let input = unsafe BIO_new(BIO_s_mem()),
      let output = unsafe BIO_new(BIO_s_mem())
    else { preconditionFailure("OpenSSL refused a server") }
    unsafe SSL_set_bio(connection, input, output)
    unsafe SSL_set_accept_state(connection)
    unsafe self.context = context
    unsafe self.connection = connection
    unsafe self.input = input
    unsafe self.output = output
  }

  deinit {
    unsafe SSL_free(connection)
    unsafe SSL_CTX_free(context)
  }

  func socketConnected(_ socket: SocketID) {}

  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    unsafe _ = BIO_write(input, bytes.baseAddress, Int32(bytes.count))
    var scratch = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe SSL_read(connection, &scratch, Int32(scratch.count))
      ERR_clear_error()
      guard count > 0 else { break }
      heard += scratch[..<Int(count)]
    }
    flush()
    let text = String(decoding: heard, as: UTF8.self)
    if !isAnswered, text.contains("\r\n\r\n") {
      isAnswered = true
      carryOut(respond(text))
    }
  }

  private func carryOut(_ answer: RawAnswer) {
    switch answer {
    case .text(let bytes):
      write(bytes)
      unsafe _ = SSL_shutdown(connection)
      flush()
    case .slowly(let pieces, let pause):
      (rest, self.pause) = (pieces, pause)
      _ = loop.schedule(at: loop.now + pause, self, tag: 0)
    case .silence: break
    case .cut(let bytes):
      write(bytes)
      closesAfterwards = true
      flush()
    }
  }

  func timerFired(_ id: TimerID, tag: Int) {
    guard !rest.isEmpty else { return }
    write(rest.removeFirst())
    if rest.isEmpty { unsafe _ = SSL_shutdown(connection) }
    flush()
    _ = loop.schedule(at: loop.now + pause, self, tag: 0)
  }

  private func write(_ bytes: [UInt8]) {
    if !bytes.isEmpty { unsafe _ = SSL_write(connection, bytes, Int32(bytes.count)) }
    flush()
  }

  private func flush() {
    var start: UnsafePointer<UInt8>?
    let count = unsafe copenssl_bio_contents(output, &start)
    unsafe waiting += Array(UnsafeBufferPointer(start: start, count: count))
    unsafe _ = BIO_ctrl(output, BIO_CTRL_RESET, 0, nil)
    guard !inFlight else { return }
    guard !waiting.isEmpty else {
      if closesAfterwards { loop.close(socket) }
      closesAfterwards = false
      return
    }
    inFlight = true
    let buffer = IOBuffer()
    buffer.append(waiting)
    waiting = []
    loop.send(socket, buffer)
  }

  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) {
    inFlight = false
    flush()
  }

  func socketReachedEnd(_ socket: SocketID) { loop.close(socket) }
  func socketFailed(_ socket: SocketID, _ error: RingError) { loop.close(socket) }
  func socketClosed(_ socket: SocketID) {}
}
