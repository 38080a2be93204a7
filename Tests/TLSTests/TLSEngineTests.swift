// Goal: mutual TLS works whole, in pieces and in bulk; every refusal has its own name on both ends.
// Method: client and server engines in one process, bytes carried by hand.

import Primitives
import TLS
import TestCertificates
import Testing

@Test(arguments: [(TLSVersion.tls13, Int.max), (.tls13, 1), (.tls13, 7), (.tls12, .max), (.tls12, 1)])
func handshakeAndDataBothWays(_ minimum: TLSVersion, _ piece: Int) throws {
  let cast = Cast()
  var seen: [[[UInt8]]] = []
  let talk = try Conversation(
    client: cast.context(.client, minimum: minimum) {
      seen.append($0.map(\.der))
      return .accept
    },
    server: cast.context(.server, minimum: minimum) {
      seen.append($0.map(\.der))
      return .accept
    },
    serverName: "relay.example.org", piece: piece)
  talk.settle()
  #expect(talk.client.progress == .established)
  #expect(talk.server.progress == .established)
  #expect(seen.contains(cast.client.chain) && seen.contains(cast.server.chain) && seen.count == 2)
  #expect(talk.client.engine.peerChain.map(\.der) == cast.server.chain)
  #expect(talk.server.engine.peerChain.map(\.der) == cast.client.chain)
  #expect(talk.client.engine.applicationProtocol == "h2")
  #expect(talk.server.engine.applicationProtocol == "h2")
  #expect(talk.server.engine.version == "TLSv1.3")
  try talk.client.send(Array("question".utf8))
  try talk.server.send(Array("answer".utf8))
  talk.settle()
  #expect(talk.server.received == Array("question".utf8))
  #expect(talk.client.received == Array("answer".utf8))
}

@Test func intermediatesTravelInOrder() throws {
  let issuing = TestAuthority("td").intermediate().intermediate()
  let identity = issuing.issue("spiffe://td/a")
  #expect(identity.chain.count == 3)
  var seen: [[UInt8]] = []
  let cast = Cast()
  let talk = try Conversation(
    client: TLSContext(
      role: .client, chain: identity.chain, key: PrivateKey(der: identity.secret), verifier: { _ in .accept }),
    server: cast.context(.server) {
      seen = $0.map(\.der)
      return .accept
    })
  talk.settle()
  #expect(seen == identity.chain)
  #expect(talk.server.engine.peerChain.map(\.der) == identity.chain)
}

@Test(arguments: [Int.max, 1000])
func aMebibyteBothWays(_ piece: Int) throws {
  let cast = Cast()
  let talk = try Conversation(client: cast.context(.client), server: cast.context(.server), piece: piece)
  talk.settle()
  var generator = SeededGenerator(seed: 1)
  let up = (0..<1 << 20).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
  let down = Array(up.reversed())
  try talk.client.send(up)
  try talk.server.send(down)
  talk.settle()
  #expect(talk.server.received == up)
  #expect(talk.client.received == down)
}

@Test func closeNotifyIsAnEndAndItsAbsenceIsTruncation() throws {
  let cast = Cast()
  let talk = try Conversation(client: cast.context(.client), server: cast.context(.server))
  talk.settle()
  try talk.client.send([1, 2, 3])
  talk.client.engine.close(output: talk.client.output)
  talk.settle()
  #expect(talk.server.received == [1, 2, 3])
  #expect(talk.server.progress == .closedByPeer)
  #expect(talk.server.engine.receivedEnd() == .closedByPeer)
  #expect(throws: TLSError.notEstablished) { try talk.client.send([4]) }
  talk.client.engine.close(output: talk.client.output)
  #expect(talk.client.output.isEmpty)
  #expect(talk.client.engine.receivedEnd() == .failed(.truncated))
}

@Test func anEndWithinTheHandshakeIsNamed() throws {
  let cast = Cast()
  let server = try End(cast.context(.server))
  #expect(server.engine.receivedEnd() == .failed(.closedEarly))
  #expect(throws: TLSError.notEstablished) { try server.send([1]) }
  server.receive([22, 3, 1])
  #expect(server.progress == .failed(.closedEarly))
}

@Test func theServersVerifierRejects() throws {
  let cast = Cast()
  let talk = try Conversation(
    client: cast.context(.client),
    server: cast.context(.server) { _ in .reject(.certificateExpired, reason: "too old", result: .expired) })
  talk.settle()
  guard case .failed(let error) = talk.server.progress else {
    Issue.record("the server went on")
    return
  }
  #expect(error == .peerRejected(alert: .certificateExpired, reason: "too old", result: .expired))
  #expect(error.handshakeResult == "expired")
  // In TLS 1.3 the client was established before the server judged its certificate.
  #expect(talk.client.progress == .failed(.refusedByPeer(.certificateExpired)))
}

@Test func theClientsVerifierRejects() throws {
  let cast = Cast()
  let talk = try Conversation(
    client: cast.context(.client) { _ in .reject(.unknownCA, reason: "stranger") },
    server: cast.context(.server))
  talk.settle()
  #expect(
    talk.client.progress
      == .failed(.peerRejected(alert: .unknownCA, reason: "stranger", result: .untrusted)))
  #expect(talk.server.progress == .failed(.refusedByPeer(.unknownCA)))
}

@Test(arguments: [
  TLSAlert.badCertificate, .unsupportedCertificate, .certificateRevoked, .certificateExpired,
  .certificateUnknown, .unknownCA,
])
func everyAlertOfAVerdictReachesThePeer(_ alert: TLSAlert) throws {
  let cast = Cast()
  let talk = try Conversation(
    client: cast.context(.client), server: cast.context(.server) { _ in .reject(alert, reason: "") })
  talk.settle()
  #expect(talk.client.progress == .failed(.refusedByPeer(alert)))
}

@Test func aMalformedCertificateNeverReachesTheVerifier() throws {
  let authority = TestAuthority("td")
  var plan = CertificatePlan.workload("spiffe://td/a")
  plan.rawSubjectAlternativeName = [0x30, 0x03, 0x86, 0x01, 0x61]
  let identity = authority.issue(plan)
  let raw = RawClient(identity: identity, alpn: [])
  let server = try End(
    Cast().context(.server) { _ in
      Issue.record("a certificate with two subjectAltName extensions was judged")
      return .accept
    })
  meet(raw, server)
  guard case .failed(.peerRejected(.badCertificate, let reason, .badID)) = server.progress else {
    Issue.record("unexpected \(server.progress)")
    return
  }
  #expect(reason.contains("given twice"))
}

@Test func anAlertAfterDataIsNotAboutTheCertificate() throws {
  let cast = Cast()
  let talk = try Conversation(client: cast.context(.client), server: cast.context(.server))
  talk.settle()
  try talk.server.send([1])
  talk.settle()
  // A damaged record makes the server give up with bad_record_mac.
  try talk.client.send([1, 2, 3])
  var bytes = talk.client.output.takeAll()
  bytes[bytes.count - 1] ^= 1
  talk.server.receive(bytes)
  talk.settle()
  #expect(talk.client.progress == .failed(.peerAlert(TLSAlert(rawValue: 20))))
  guard case .failed(.malformed(let reason)) = talk.server.progress else {
    Issue.record("the server took a damaged record")
    return
  }
  #expect(reason.contains("bad record mac"))
  #expect(throws: TLSError.notEstablished) { try talk.server.send([1]) }
}

@Test(arguments: [
  "GET / HTTP/1.1\r\nHost: relay\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{0}\u{0}\u{0}",
])
func plaintextIsRefused(_ text: String) throws {
  let server = try End(Cast().context(.server))
  server.receive(Array(text.utf8))
  server.receive([UInt8](repeating: 0, count: 64))
  guard case .failed(let error) = server.progress else {
    Issue.record("plaintext was taken for TLS: \(server.progress)")
    return
  }
  #expect(error.handshakeResult == "protocol")
  #expect(!error.what.isEmpty)
}

@Test func onlyAllowedVersions() throws {
  let cast = Cast()
  let modern = try cast.context(.server)
  let hello = clientHelloTLS12
  let server = try End(modern)
  server.receive(hello)
  guard case .failed(.malformed(let reason)) = server.progress else {
    Issue.record("TLS 1.2 was accepted")
    return
  }
  #expect(reason.contains("unsupported protocol"))
}

/// A minimal ClientHello of TLS 1.2 with one cipher and no extensions. RFC 5246, section 7.4.1.2.
private let clientHelloTLS12: [UInt8] = {
  let body: [UInt8] = [3, 3] + [UInt8](repeating: 7, count: 32) + [0, 0, 2, 0xC0, 0x2B, 1, 0]
  let message: [UInt8] = [1, 0, 0, UInt8(body.count)] + body
  return [22, 3, 1, 0, UInt8(message.count)] + message
}()

@Test func theChainAndKeyMustFit() throws {
  let cast = Cast()
  #expect(throws: TLSError.keyDoesNotMatch) {
    try TLSContext(
      role: .client, chain: cast.client.chain, key: PrivateKey(der: cast.server.secret),
      verifier: { _ in .accept })
  }
  #expect(throws: TLSError.noCertificates) {
    try TLSContext(
      role: .client, chain: [], key: PrivateKey(der: cast.server.secret), verifier: { _ in .accept })
  }
  #expect(throws: TLSError.self) {
    try TLSContext(
      role: .client, chain: [[0x30, 0x00]], key: PrivateKey(der: cast.client.secret),
      verifier: { _ in .accept })
  }
  #expect(throws: TLSError.self) {
    try TLSContext(
      role: .client, chain: cast.client.chain + [[1]], key: PrivateKey(der: cast.client.secret),
      verifier: { _ in .accept })
  }
}

@Test func everyResultHasItsLabel() {
  #expect(
    HandshakeResult.allCases.map(\.rawValue) == [
      "ok", "no_certificate", "untrusted", "expired", "bad_id", "wrong_id", "alpn", "protocol", "timeout",
      "closed",
    ])
  #expect(TLSError.timedOut.handshakeResult == "timeout")
  #expect(TLSError.noPeerCertificate.handshakeResult == "no_certificate")
  #expect(TLSError.noCommonProtocol.handshakeResult == "alpn")
  #expect(TLSError.closedEarly.handshakeResult == "closed")
}
