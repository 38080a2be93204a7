// Goal: certificates and keys are read whole and strictly; what is malformed is named, never half read.
// Method: certificates made here, then cut, doubled and damaged.

import Primitives
import TLS
import TestCertificates
import Testing

@Test func factsOfALeaf() throws {
  let authority = TestAuthority("td")
  var plan = CertificatePlan.workload("spiffe://td/a")
  plan.commonName = "a, b"
  plan.subjectAlternativeName = "URI:spiffe://td/a,DNS:host.td,IP:10.0.0.1,URI:https://x/y"
  let leaf = try Certificate(der: authority.issue(plan).chain[0])
  #expect(leaf.uriNames == ["spiffe://td/a", "https://x/y"])
  #expect(leaf.dnsNames == ["host.td"])
  #expect(!leaf.isCA)
  #expect(leaf.keyUsage == .digitalSignature)
  #expect(leaf.keyUsageIsCritical)
  #expect(leaf.extendedKeyUsage == [.serverAuth, .clientAuth])
  #expect(leaf.notBefore == Timestamp(seconds: TestAuthority.epoch - 3600))
  #expect(leaf.notAfter == Timestamp(seconds: TestAuthority.epoch + 86_400))
  #expect(leaf.subject == #"CN=a\, b"#)
}

@Test func factsOfAnAuthorityAndOfABareCertificate() throws {
  let authority = TestAuthority("td")
  let root = try Certificate(der: authority.certificate)
  #expect(root.isCA)
  #expect(root.keyUsage == [.keyCertSign, .crlSign])
  #expect(root.extendedKeyUsage == nil)
  var plan = CertificatePlan()
  plan.basicConstraints = nil
  plan.keyUsage = nil
  plan.extendedKeyUsage = "codeSigning,anyExtendedKeyUsage"
  let bare = try Certificate(der: authority.issue(plan).chain[0])
  #expect(!bare.isCA)
  #expect(bare.keyUsage == nil && !bare.keyUsageIsCritical)
  #expect(bare.extendedKeyUsage == [.any, .other])
  #expect(bare.uriNames.isEmpty)
}

@Test func namesAreTakenByLength() throws {
  var plan = CertificatePlan()
  let name = Array("spiffe://td/a".utf8) + [0] + Array("/b".utf8)
  plan.rawSubjectAlternativeName = [0x30, UInt8(name.count + 2), 0x86, UInt8(name.count)] + name
  let leaf = try Certificate(der: TestAuthority("td").issue(plan).chain[0])
  #expect(leaf.uriNames == ["spiffe://td/a\u{0}/b"])
}

@Test func malformedAndDoubledExtensionsAreRefused() throws {
  let authority = TestAuthority("td")
  var malformed = CertificatePlan()
  malformed.rawSubjectAlternativeName = [0x30, 0x05, 0x86]
  var doubled = CertificatePlan.workload("spiffe://td/a")
  doubled.rawSubjectAlternativeName = [0x30, 0x03, 0x86, 0x01, 0x61]
  #expect(throws: TLSError.certificateUnreadable(index: 0, reason: "subjectAltName is malformed")) {
    try Certificate(der: authority.issue(malformed).chain[0])
  }
  #expect(throws: TLSError.certificateUnreadable(index: 0, reason: "subjectAltName is given twice")) {
    try Certificate(der: authority.issue(doubled).chain[0])
  }
}

@Test func exactlyOneCertificate() throws {
  let der = TestAuthority("td").certificate
  #expect(throws: TLSError.self) { try Certificate(der: []) }
  #expect(throws: TLSError.self) { try Certificate(der: der + [0]) }
  #expect(throws: TLSError.self) { try Certificate(der: Array(der.dropLast())) }
}

@Test func damagedCertificatesNeverTrap() throws {
  let der = TestAuthority("td").issue("spiffe://td/a").chain[0]
  for seed in UInt64(0)..<2000 {
    var generator = SeededGenerator(seed: seed)
    var bytes = der
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
      bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(
        in: .min ... .max, using: &generator)
    }
    _ = try? Certificate(der: bytes)
    _ = try? Certificate.parse(concatenatedDER: bytes)
  }
}

@Test func chainsInPEM() throws {
  let identity = TestAuthority("td").intermediate().issue("spiffe://td/a")
  let text = "a comment\n" + identity.chainPEM.replacing("\n", with: "\r\n") + identity.keyPEM
  #expect(try Certificate.parse(pem: Array(text.utf8)).map(\.der) == identity.chain)
  #expect(throws: TLSError.noCertificates) { try Certificate.parse(pem: Array(identity.keyPEM.utf8)) }
  #expect(throws: TLSError.noCertificates) { try Certificate.parse(pem: []) }
  let cut = String(identity.chainPEM.dropLast(60))
  #expect(throws: TLSError.self) { try Certificate.parse(pem: Array(cut.utf8)) }
}

@Test func chainsInConcatenatedDER() throws {
  let identity = TestAuthority("td").intermediate().issue("spiffe://td/a")
  let bytes = identity.chain.flatMap(\.self)
  #expect(try Certificate.parse(concatenatedDER: bytes).map(\.der) == identity.chain)
  for wrong in [
    [], Array(bytes.dropLast()), bytes + [0], [0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 1], [0x30, 0x80],
  ] {
    #expect(throws: TLSError.self) { try Certificate.parse(concatenatedDER: wrong) }
  }
}

@Test func keysAreReadMatchedAndNeverPrinted() throws {
  let authority = TestAuthority("td")
  let identity = authority.issue("spiffe://td/a")
  let key = try PrivateKey(pem: SecretBytes(Array(identity.keyPEM.utf8)))
  #expect(try PrivateKey(der: identity.secret).matches(Certificate(der: identity.chain[0])))
  #expect(try key.matches(Certificate(der: identity.chain[0])))
  #expect(try !key.matches(Certificate(der: authority.certificate)))
  #expect(String(describing: key) == "private key")
  #expect(Mirror(reflecting: key).children.isEmpty)
  #expect(throws: TLSError.self) { try PrivateKey(pem: SecretBytes(Array("no key".utf8))) }
  #expect(throws: TLSError.self) { try PrivateKey(der: SecretBytes([])) }
}

@Test func encryptedKeysAreRefusedWithoutAQuestion() {
  let key = TestAuthority.encryptedKeyPEM()
  #expect(key.contains("ENCRYPTED"))
  #expect(throws: TLSError.keyEncrypted) { try PrivateKey(pem: SecretBytes(Array(key.utf8))) }
}
