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
  /// PEM or SPIFFE bundle documents, one for each trust domain; sorted by trust domain.
  public let bundlePaths: [(trustDomain: TrustDomain, path: String)]

  /// How often a load starts again because a file changed under it. Reason: a replacement takes milliseconds.
  private static let attemptsMax = 5

  /// - Parameter bundles: later entries of the same trust domain replace earlier ones.
  public init(svid: String, key: String, bundles: [(TrustDomain, String)]) {
    svidPath = svid
    keyPath = key
    bundlePaths =
      Dictionary(bundles, uniquingKeysWith: { $1 }).sorted { $0.key < $1.key }
      .map { (trustDomain: $0.key, path: $0.value) }
  }

  /// The same files for the same purposes.
  public static func == (left: FileIdentity, right: FileIdentity) -> Bool {
    left.svidPath == right.svidPath && left.keyPath == right.keyPath
      && left.bundlePaths.elementsEqual(right.bundlePaths) { $0 == $1 }
  }

  /// Reads everything and proves it usable: the key is that of the SVID, and the SVID verifies at `instant` against
  /// its own trust domain's bundle in both roles.
  /// - Parameter generation: given to the result; the caller counts.
  public func load(at instant: Timestamp, generation: UInt64 = 1) throws(IdentityError) -> Credentials {
    for _ in 0..<FileIdentity.attemptsMax {
      let before = fingerprint()
      let attempt = Result<Credentials, IdentityError> { () throws(IdentityError) in
        try loadOnce(at: instant, generation: generation)
      }
      // A failure counts only when the files held still: half of a replacement fails in many ways.
      if fingerprint() == before { return try attempt.get() }
    }
    throw .changing(path: svidPath)
  }

  /// Changes whenever a file is replaced, edited, removed or appears. Compare for equality only.
  public func fingerprint() -> String {
    ([svidPath, keyPath] + bundlePaths.map(\.path))
      .map { FileStamp(path: $0)?.text ?? "absent" }
      .joined(separator: " ")
  }

  /// What the operator should know about the files although they work.
  public func warnings() -> [IdentityWarning] {
    guard let stamp = FileStamp(path: keyPath), stamp.mode & 0o007 != 0 else { return [] }
    return [.keyReadableByOthers(path: keyPath, mode: stamp.mode)]
  }

  private func loadOnce(at instant: Timestamp, generation: UInt64) throws(IdentityError) -> Credentials {
    let svid = try loadSVID()
    var bundles: [TrustDomain: Bundle] = [:]
    for (trustDomain, path) in bundlePaths {
      bundles[trustDomain] = try loadBundle(of: trustDomain, from: path)
    }
    guard let own = bundlePaths.first(where: { $0.trustDomain == svid.id.trustDomain }) else {
      throw .noOwnBundle(svid: svidPath, svid.id.trustDomain)
    }
    let credentials = Credentials(svid: svid, bundles: bundles, generation: generation)
    do {
      _ = try credentials.verifyOwnSVID(at: instant)
    } catch {
      throw .unusable(svid: svidPath, bundle: own.path, error)
    }
    return credentials
  }

  private func loadSVID() throws(IdentityError) -> X509SVID {
    let chain = try SmallFile.read(svidPath)
    let key = try SmallFile.read(keyPath)
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

  private func loadBundle(of trustDomain: TrustDomain, from path: String) throws(IdentityError) -> Bundle {
    let text = try SmallFile.read(path)
    do {
      return try Bundle.parse(text, trustDomain: trustDomain)
    } catch {
      throw .bundle(path: path, trustDomain, error)
    }
  }
}
