// Our own identity and whom we trust, as one value that travels to every loop. Keys are in it, and nothing here
// ever prints them: descriptions and mirrors show names and dates only.

public import Primitives
public import SPIFFE
public import TLS

/// An X.509-SVID with its private key.
public struct X509SVID: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public let id: SPIFFEID
  /// DER, leaf first, then intermediates.
  public let chain: [[UInt8]]
  /// The leaf's. It cannot be taken out.
  public let key: PrivateKey
  /// The leaf's own beginning.
  public let notBefore: Timestamp
  /// The earliest end of validity within the chain.
  public let notAfter: Timestamp

  /// Key and leaf must belong together, and the leaf must name a workload.
  public init(chain: [Certificate], key: PrivateKey) throws(TrustError) {
    guard let leaf = chain.first else { throw .certificates(.noCertificates) }
    do {
      id = try workloadID(of: leaf)
    } catch {
      throw .notAnSVID(error)
    }
    guard key.matches(leaf) else { throw .keyDoesNotMatch }
    self.chain = chain.map(\.der)
    self.key = key
    notBefore = leaf.notBefore
    notAfter = chain.reduce(leaf.notAfter) { min($0, $1.notAfter) }
  }

  /// As files have it: certificates leaf first, and one unencrypted key, both PEM.
  public init(pemChain: [UInt8], pemKey: SecretBytes) throws(TrustError) {
    let chain: [Certificate]
    do { chain = try Certificate.parse(pem: pemChain) } catch { throw .certificates(error) }
    let key: PrivateKey
    do { key = try PrivateKey(pem: pemKey) } catch { throw .key(error) }
    try self.init(chain: chain, key: key)
  }

  /// As the Workload API has it: concatenated DER and a PKCS#8 key.
  public init(derChain: [UInt8], derKey: SecretBytes) throws(TrustError) {
    let chain: [Certificate]
    do { chain = try Certificate.parse(concatenatedDER: derChain) } catch { throw .certificates(error) }
    let key: PrivateKey
    do { key = try PrivateKey(der: derKey) } catch { throw .key(error) }
    try self.init(chain: chain, key: key)
  }

  public var description: String { "\(id) until \(notAfter.rfc3339)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: ["id": id, "notAfter": notAfter]) }
}

/// Who we are and whom we trust: one generation of it.
public struct Credentials: Sendable {
  public let svid: X509SVID
  public let bundles: [TrustDomain: Bundle]
  /// Grows with every change of SVID or bundles.
  public let generation: UInt64
  /// Since when the SVID must not be shown any more, because whoever issued it took it back; nil: it may be. The
  /// bundles count all the same: peers of open connections are judged by them.
  public let withdrawnAt: Timestamp?

  public init(
    svid: X509SVID, bundles: [TrustDomain: Bundle], generation: UInt64, withdrawnAt: Timestamp? = nil
  ) {
    self.svid = svid
    self.bundles = bundles
    self.generation = generation
    self.withdrawnAt = withdrawnAt
  }

  /// Whether peers with our own bundles would take our SVID, in both roles.
  public func verifyOwnSVID(at instant: Timestamp) throws(VerificationFailure) -> VerifiedPeer {
    _ = try verifyPeer(chain: svid.chain, bundles: bundles, at: instant, role: .client)
    return try verifyPeer(chain: svid.chain, bundles: bundles, at: instant, role: .server)
  }
}
