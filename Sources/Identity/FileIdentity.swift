// An identity that is kept in files: SVID, key and bundles, replaced from outside at any moment.
// Certificate and key always come from the same write: what changes while it is read is read again.
// Who watches the files, and when to load again, is decided above; nothing here keeps state or a clock.

public import Primitives
public import SPIFFE
public import Trust

/// Where the files of an identity are. A value: loading twice reads twice.
public struct FileIdentity: Sendable, Equatable {
  /// PEM, leaf first, then intermediates.
  public let svidPath: String
  /// PEM, unencrypted.
  public let keyPath: String
  public let bundles: BundleFiles

  /// How often a load starts again because a file changed under it. Reason: a replacement takes milliseconds.
  private static let attemptsMax = 5

  /// - Parameter bundles: later entries of the same trust domain replace earlier ones.
  public init(svid: String, key: String, bundles: [(TrustDomain, String)]) {
    svidPath = svid
    keyPath = key
    self.bundles = BundleFiles(bundles)
  }

  /// What the files hold, as far as it can be used.
  public struct Contents: Sendable {
    public let svid: X509SVID
    /// Our own trust domain's is among them.
    public let bundles: [TrustDomain: Bundle]
    /// Bundles of other trust domains that cannot be used. They keep nobody from being who he is.
    public let faults: [TrustDomain: IdentityError]
  }

  /// Reads everything and proves it usable: the key is that of the SVID, and the SVID verifies at `instant` against
  /// its own trust domain's bundle in both roles.
  public func read(at instant: Timestamp) throws(IdentityError) -> Contents {
    for _ in 0..<FileIdentity.attemptsMax {
      let before = fingerprint()
      let attempt = Result<Contents, IdentityError> { () throws(IdentityError) in try readOnce(at: instant) }
      // A failure counts only when the files held still: half of a replacement fails in many ways.
      if fingerprint() == before { return try attempt.get() }
    }
    throw .changing(path: svidPath)
  }

  /// The same as one value for whoever needs it once; every bundle must be usable.
  /// - Parameter generation: given to the result; the caller counts.
  public func load(at instant: Timestamp, generation: UInt64 = 1) throws(IdentityError) -> Credentials {
    let contents = try read(at: instant)
    if let fault = contents.faults.min(by: { $0.key < $1.key }) { throw fault.value }
    return Credentials(svid: contents.svid, bundles: contents.bundles, generation: generation)
  }

  /// Changes whenever a file is replaced, edited, removed or appears. Compare for equality only.
  public func fingerprint() -> String {
    BundleFiles.fingerprint([svidPath, keyPath]) + " " + bundles.fingerprint()
  }

  /// What the operator should know about the files although they work.
  public func warnings() -> [IdentityWarning] {
    guard let stamp = FileStamp(path: keyPath), stamp.mode & 0o007 != 0 else { return [] }
    return [.keyReadableByOthers(path: keyPath, mode: stamp.mode)]
  }

  private func readOnce(at instant: Timestamp) throws(IdentityError) -> Contents {
    let svid = try loadSVID()
    var (found, faults) = bundles.read()
    guard let path = bundles.path(of: svid.id.trustDomain) else {
      throw .noOwnBundle(svid: svidPath, svid.id.trustDomain)
    }
    if let fault = faults.removeValue(forKey: svid.id.trustDomain) { throw fault }
    do {
      _ = try Credentials(svid: svid, bundles: found, generation: 0).verifyOwnSVID(at: instant)
    } catch {
      throw .unusable(svid: svidPath, bundle: path, error)
    }
    return Contents(svid: svid, bundles: found, faults: faults)
  }

  private func loadSVID() throws(IdentityError) -> X509SVID {
    let chain = try SmallFile.read(svidPath)
    let key = try SmallFile.readSecret(keyPath)
    do {
      return try X509SVID(pemChain: chain, pemKey: key)
    } catch .key(let error) {
      throw .key(path: keyPath, .key(error))
    } catch .keyDoesNotMatch {
      throw .key(path: keyPath, .keyDoesNotMatch)
    } catch {
      throw .svid(path: svidPath, error)
    }
  }
}
