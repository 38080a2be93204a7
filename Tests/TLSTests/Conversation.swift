// Two engines and the bytes between them: the harness of the TLS tests.

import Primitives
import TLS
import TestCertificates

/// One end with what it has received.
final class End {
  let engine: TLSEngine
  let output = IOBuffer()
  private let plaintext = IOBuffer()
  private(set) var received: [UInt8] = []
  private(set) var progress: TLSEngine.Progress = .handshaking

  init(_ context: TLSContext, serverName: String? = nil) throws {
    engine = try TLSEngine(context: context, serverName: serverName)
    progress = engine.start(output: output)
  }

  func receive(_ bytes: [UInt8]) {
    progress = unsafe bytes.withUnsafeBytes {
      unsafe engine.receive($0, plaintext: plaintext, output: output)
    }
    received += plaintext.takeAll()
  }

  func send(_ bytes: [UInt8]) throws {
    try unsafe bytes.withUnsafeBytes { try unsafe engine.send($0, output: output) }
  }
}

extension IOBuffer {
  func takeAll() -> [UInt8] {
    let bytes = unsafe Array(readable)
    consume(bytes.count)
    return bytes
  }
}

/// A client and a server; `piece` is the most bytes that travel at once.
final class Conversation {
  let client: End
  let server: End
  private let piece: Int

  init(client: TLSContext, server: TLSContext, serverName: String? = nil, piece: Int = .max) throws {
    self.client = try End(client, serverName: serverName)
    self.server = try End(server)
    self.piece = piece
  }

  /// Carries bytes both ways until both ends are silent.
  func settle() {
    while !client.output.isEmpty || !server.output.isEmpty {
      carry(from: client, to: server)
      carry(from: server, to: client)
    }
  }

  private func carry(from: End, to: End) {
    var bytes = from.output.takeAll()[...]
    while !bytes.isEmpty {
      to.receive(Array(bytes.prefix(piece)))
      bytes = bytes.dropFirst(min(piece, bytes.count))
    }
  }
}

/// A trust domain with one identity for each end.
struct Cast {
  let authority = TestAuthority("td")
  let client: TestIdentity
  let server: TestIdentity

  init() {
    client = authority.issue("spiffe://td/client")
    server = authority.issue("spiffe://td/server")
  }

  func context(
    _ role: TLSRole, minimum: TLSVersion = .tls13, verifier: @escaping PeerVerifier = { _ in .accept }
  ) throws -> TLSContext {
    let identity = role == .client ? client : server
    return try TLSContext(
      role: role, chain: identity.chain, key: PrivateKey(der: identity.secret), minimum: minimum,
      verifier: verifier)
  }
}
