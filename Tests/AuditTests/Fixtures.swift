// What the tests of this room make logs from.

import Audit
import Primitives
import SPIFFE
import TLS
import TestCertificates
import Testing

let noon = Timestamp(seconds: 1_795_435_200)

func identity(_ path: String) -> SPIFFEID {
  do throws(SPIFFEError) {
    return try SPIFFEID(parsing: "spiffe://example.org/" + path)
  } catch {
    preconditionFailure("a test names no identity: \(error)")
  }
}

/// Who signs in these tests.
struct Signer {
  let chain: [[UInt8]]
  let key: PrivateKey?

  init() {
    let issued = TestAuthority("example.org").issue("spiffe://example.org/relay")
    chain = issued.chain
    key = try? PrivateKey(der: issued.secret)
  }

  func sign(_ bytes: [UInt8]) -> [UInt8]? { key?.sign(bytes) }
}

/// A log in the making.
struct Log {
  var chain = AuditChain(after: .none)
  var bytes: [UInt8] = []
  let signer = Signer()

  mutating func add(_ record: AuditRecord) { chain.append(record, at: noon, to: &bytes) }

  mutating func checkpoint(_ reason: String? = nil, signed: Bool = true) {
    chain.appendCheckpoint(
      reason: reason, at: noon, certificates: signed ? signer.chain : [], to: &bytes
    ) { signed ? signer.sign($0) : nil }
  }

  /// A start, some of everything, and a signed end.
  static var sample: Log {
    var log = Log()
    var start = AuditRecord(.start)
    start.node = "edge-1"
    log.add(start)
    var publish = AuditRecord(
      .publish, type: "networking.istio.io/VirtualService", version: "0123456789abcdef", sequence: 17)
    publish.added = NameList(["foo/a", "foo/b"])
    publish.clusters = NameList(["a"])
    log.add(publish)
    for event in [AuditRecord.Event.connect, .subscribe, .deliver, .ack] {
      log.add(AuditRecord(event, spiffeID: identity("a"), cluster: "a", version: "0123456789abcdef"))
    }
    log.add(AuditRecord(.nack, spiffeID: identity("a"), reason: "said \"no\"\nand \u{202E}more"))
    log.checkpoint("stop")
    return log
  }

  /// Without newlines.
  var lines: [[UInt8]] { bytes.split(separator: UInt8(ascii: "\n")).map(Array.init) }
}

/// The verdict on lines that make up one file.
func verdict(_ bytes: [UInt8], heads: [String] = [], pieces: Int = .max) -> AuditFault? {
  var verifier = AuditVerifier(heads: heads)
  var fault = verifier.begin(file: "f")
  var rest = bytes[...]
  while fault == nil, !rest.isEmpty {
    fault = verifier.receive(Array(rest.prefix(pieces)))
    rest = rest.dropFirst(pieces)
  }
  return fault ?? verifier.finish()
}

func file(_ lines: [[UInt8]]) -> [UInt8] { lines.flatMap { $0 + [UInt8(ascii: "\n")] } }
