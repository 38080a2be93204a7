// Goal: keys of every usual kind and form are read, belong to their certificate with both halves, and sign; what is no
// key never traps. Method: keys and certificates of the openssl program; every prefix of each, and single wrong bytes.

import Digest
import Foundation
import Primitives
import TLS
import TestCertificates
import Testing

/// A folder in which the openssl program works, removed at the end.
private final class Workshop {
  private let folder = FileManager.default.temporaryDirectory.appending(path: "keys-\(UUID().uuidString)")

  init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(at: folder) }

  /// Standard output of `openssl ARGUMENT…`.
  @discardableResult
  func openssl(_ arguments: String...) throws -> [UInt8] {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/openssl")
    process.arguments = arguments
    process.currentDirectoryURL = folder
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let printed = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "openssl \(arguments)")
    return Array(printed)
  }
}

private let message = Array("checkpoint 17".utf8)

struct PrivateKeyTests {
  @Test(arguments: [
    (["EC", "ec_paramgen_curve:P-256"], "ec"), (["EC", "ec_paramgen_curve:P-384"], "ec"),
    (["EC", "ec_paramgen_curve:P-521"], "ec"), (["RSA", "rsa_keygen_bits:2048"], "rsa"), (["ED25519"], nil),
  ])
  func kindsAndForms(_ kind: [String], _ older: String?) throws {
    let shop = try Workshop()
    if kind.count > 1 {
      try shop.openssl("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", "key")
    } else {
      try shop.openssl("genpkey", "-algorithm", kind[0], "-out", "key")
    }
    let der = try shop.openssl("req", "-x509", "-new", "-key", "key", "-subj", "/CN=x", "-outform", "DER")
    let certificate = try Certificate(der: der)
    var keys = [
      try PrivateKey(pem: SecretBytes(shop.openssl("pkey", "-in", "key"))),
      try PrivateKey(der: SecretBytes(shop.openssl("pkey", "-in", "key", "-outform", "DER"))),
    ]
    if let older {
      let text =
        older == "rsa"
        ? try shop.openssl("rsa", "-in", "key", "-traditional") : try shop.openssl("ec", "-in", "key")
      #expect(String(decoding: text, as: UTF8.self).contains("BEGIN \(kind[0]) PRIVATE KEY"))
      keys.append(try PrivateKey(pem: SecretBytes(text)))
    }
    for key in keys {
      #expect(key.matches(certificate))
      let signature = try #require(key.sign(message))
      #expect(try Signature.verify(signature, of: message, certificate: der))
    }
  }

  @Test func signaturesHoldForTheirBytesOnly() throws {
    let authority = TestAuthority("td")
    let signer = authority.issue("spiffe://td/a")
    let other = authority.issue("spiffe://td/b")
    let signature = try #require(PrivateKey(der: signer.secret).sign(message))
    #expect(try Signature.verify(signature, of: message, certificate: signer.chain[0]))
    #expect(try !Signature.verify(signature, of: message + [0], certificate: signer.chain[0]))
    #expect(try !Signature.verify(signature, of: message, certificate: other.chain[0]))
    #expect(try !Signature.verify([], of: message, certificate: signer.chain[0]))
    #expect(try !Signature.verify([1, 2, 3], of: message, certificate: signer.chain[0]))
  }

  /// A file that holds the public half of one key and the private half of another would show only in handshakes.
  @Test func halvesOfTwoKeysAreNoKey() throws {
    let authority = TestAuthority("td")
    let one = authority.issue("spiffe://td/a")
    let two = authority.issue("spiffe://td/a")
    #expect(one.key.count == two.key.count)
    // Where the private number lies in PKCS#8 of P-256, after OCTET STRING of 32 bytes.
    let place = try #require(one.key.indices.first { one.key[$0...].starts(with: [0x04, 0x20]) }) + 2
    var mixed = one.key
    mixed.replaceSubrange(place..<place + 32, with: two.key[place..<place + 32])
    let certificate = try Certificate(der: one.chain[0])
    #expect(try PrivateKey(der: one.secret).matches(certificate))
    #expect(try PrivateKey(der: SecretBytes(mixed)).matches(certificate) == false)
  }

  @Test func whatIsNoKeyNeverTraps() throws {
    let key = TestAuthority("td").issue("spiffe://td/a").key
    for count in key.indices { _ = try? PrivateKey(der: SecretBytes(Array(key.prefix(count)))) }
    for place in key.indices {
      for byte: UInt8 in [0x00, 0x01, 0x7F, 0x80, 0x84, 0xFF] {
        var wrong = key
        wrong[place] = byte
        _ = try? PrivateKey(der: SecretBytes(wrong)).sign(message)
      }
    }
    #expect(throws: TLSError.self) { try PrivateKey(der: SecretBytes([1, 2])) }
  }

  @Test func theHeapIsMadeOnce() {
    let state = SecureHeap.prepare()
    #expect(SecureHeap.prepare(connections: 10_000_000) == state)
    #expect(state != .missing && SecureHeap.connectionsMost >= 100_000)
  }
}
