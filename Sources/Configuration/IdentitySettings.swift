// The section `identity`: which SVID this relay shows and which bundles it trusts. Files are not opened here.

internal import Documents
public import SPIFFE

/// Identity from files, which are watched.
public struct IdentitySettings: Sendable, Equatable {
  /// PEM, leaf first, then intermediates.
  public let svid: String
  /// PEM, PKCS #8.
  public let key: SecretLocation
  /// PEM or SPIFFE JSON; sorted by trust domain; at least one.
  public let bundles: [BundleFile]

  public struct BundleFile: Sendable, Hashable {
    public let trustDomain: TrustDomain
    public let path: String
  }

  static func read(_ reader: MappingReader) -> IdentitySettings? {
    NotBuilt.refuseKeys(of: reader)
    let files = files(of: reader)
    let bundles = bundles(of: reader)
    guard let files, let bundles else { return nil }
    return IdentitySettings(svid: files.svid, key: files.key, bundles: bundles)
  }

  private static func files(of reader: MappingReader) -> (svid: String, key: SecretLocation)? {
    if reader.entry("files") == nil, NotBuilt.refuses("workloadAPI", in: reader) { return nil }
    return reader.mapping("files", required: true) { files in
      let svid = files.path("svid", required: true)
      let key = files.secret("key")
      guard let svid, let key else { return nil }
      return (svid, key)
    }
  }

  private static func bundles(of reader: MappingReader) -> [BundleFile]? {
    guard let entries = reader.freeEntries("bundles") else {
      if reader.entry("bundles") == nil, reader.entry("files") != nil {
        reader.problems.report(
          reader.position, "the key \"bundles\" is missing in identity",
          why: "without a bundle nobody can be verified",
          howToFix: "add bundles: { TRUST_DOMAIN: FILE }")
      }
      return nil
    }
    if entries.isEmpty {
      reader.problems.report(reader.position, "identity.bundles is empty", howToFix: "add TRUST_DOMAIN: FILE")
    }
    return entries.compactMap { entry in bundle(entry, of: reader) }.sorted {
      $0.trustDomain < $1.trustDomain
    }
  }

  private static func bundle(_ entry: Node.Entry, of reader: MappingReader) -> BundleFile? {
    let name = "identity.bundles.\(entry.key)"
    do throws(SPIFFEError) {
      let trustDomain = try TrustDomain(entry.key)
      guard let text = reader.string(of: entry.value, name: name),
        let path = reader.path(from: text, name: name)
      else { return nil }
      return BundleFile(trustDomain: trustDomain, path: path)
    } catch {
      reader.problems.report(
        entry.position, "\(Problem.quote(entry.key)) in identity.bundles is no trust domain", why: error.what,
        howToFix: error.howToFix)
      return nil
    }
  }
}
