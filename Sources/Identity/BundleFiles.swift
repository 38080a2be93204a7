// Bundles that are kept in files, one for each trust domain: PEM or a SPIFFE bundle document. They stand beside an
// SVID from files, or beside what the Workload API brings.

public import SPIFFE
public import Trust

/// Where bundles are. A value: reading twice reads twice.
public struct BundleFiles: Sendable, Equatable {
  /// Sorted by trust domain, each once.
  public let paths: [(trustDomain: TrustDomain, path: String)]

  /// Later entries of the same trust domain replace earlier ones.
  public init(_ bundles: [(TrustDomain, String)]) {
    paths =
      Dictionary(bundles, uniquingKeysWith: { $1 }).sorted { $0.key < $1.key }
      .map { (trustDomain: $0.key, path: $0.value) }
  }

  /// The same files for the same trust domains.
  public static func == (left: BundleFiles, right: BundleFiles) -> Bool {
    left.paths.elementsEqual(right.paths) { $0 == $1 }
  }

  public func path(of trustDomain: TrustDomain) -> String? {
    paths.first { $0.trustDomain == trustDomain }?.path
  }

  /// What can be used, and for each of the others why it cannot.
  public func read() -> (bundles: [TrustDomain: Bundle], faults: [TrustDomain: IdentityError]) {
    var bundles: [TrustDomain: Bundle] = [:]
    var faults: [TrustDomain: IdentityError] = [:]
    for (trustDomain, path) in paths {
      do throws(IdentityError) {
        bundles[trustDomain] = try BundleFiles.load(trustDomain, from: path)
      } catch {
        faults[trustDomain] = error
      }
    }
    return (bundles, faults)
  }

  /// Changes whenever a file is replaced, edited, removed or appears. Compare for equality only.
  public func fingerprint() -> String { BundleFiles.fingerprint(paths.map(\.path)) }

  static func fingerprint(_ paths: [String]) -> String {
    paths.map { FileStamp(path: $0)?.text ?? "absent" }.joined(separator: " ")
  }

  private static func load(_ trustDomain: TrustDomain, from path: String) throws(IdentityError) -> Bundle {
    // Before it is read: one that is replaced meanwhile is read again.
    let writtenAt = FileStamp(path: path)?.writtenAt
    let text = try SmallFile.read(path)
    do {
      var bundle = try Bundle.parse(text, trustDomain: trustDomain)
      bundle.obtainedAt = writtenAt
      return bundle
    } catch {
      throw .bundle(path: path, trustDomain, error)
    }
  }
}
