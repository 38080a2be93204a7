// The section `identity`: which SVID this relay shows and which bundles it trusts. Files are not opened here,
// and no agent is asked.

internal import Documents
public import SPIFFE

/// Who this relay is and whom it trusts.
public struct IdentitySettings: Sendable, Equatable {
  public let source: Source
  /// PEM or SPIFFE JSON; sorted by trust domain; at least one beside files.
  public let bundles: [BundleFile]
  /// Where bundles of other trust domains are published; each trust domain once.
  public let federation: [FederationSettings]
  /// How long this host is to last when nothing renews its SVID and bundle; nil: as long as it does.
  public let offlineGoal: Duration?

  /// Where the SVID comes from.
  public enum Source: Sendable, Equatable {
    /// Watched. SVID: PEM, leaf first, then intermediates. Key: PEM, PKCS #8.
    case files(svid: String, key: SecretLocation)
    /// The SPIFFE Workload API. Address nil: what $SPIFFE_ENDPOINT_SOCKET says.
    case workloadAPI(WorkloadAPIAddress?, select: SVIDChoice?)
  }

  /// Which of several SVIDs; without one it is the first.
  public enum SVIDChoice: Sendable, Hashable {
    case hint(String)
    case spiffeID(SPIFFEID)
  }

  public struct BundleFile: Sendable, Hashable {
    public let trustDomain: TrustDomain
    public let path: String
  }

  static func read(_ reader: MappingReader) -> IdentitySettings? {
    let source = source(of: reader)
    let bundles = bundles(of: reader)
    let goal = reader.duration("offlineGoal", in: .seconds(60) ... .seconds(3650 * 86_400))
    let federation = FederationSettings.readAll(reader)
    guard let source, let bundles, let federation else { return nil }
    return IdentitySettings(
      source: source, bundles: bundles, federation: federation, offlineGoal: goal?.value)
  }

  /// Trust domains that this section names, sorted.
  public var trustDomains: [TrustDomain] {
    Set(bundles.map(\.trustDomain) + federation.map(\.trustDomain)).sorted()
  }

  // MARK: the SVID

  private static func source(of reader: MappingReader) -> Source? {
    let select = reader.mapping("select", choice)
    guard reader.entry("files") != nil else {
      // An address that cannot be read is no wish for the default.
      let address = reader.string("workloadAPI").map { workloadAPI($0, reader) }
      guard address != .some(nil), reader.entry("workloadAPI") == nil || address != nil,
        reader.entry("select") == nil || select != nil
      else { return nil }
      return .workloadAPI(address ?? nil, select: select)
    }
    if let entry = reader.entry("workloadAPI") {
      reader.problems.report(
        entry.position, "identity takes files or workloadAPI, and one of them only", howToFix: "remove one")
    }
    if let entry = reader.entry("select") {
      reader.problems.report(
        entry.position, "identity.select chooses among SVIDs of the Workload API, and files hold one",
        howToFix: "remove it")
    }
    return reader.mapping("files") { files in
      let svid = files.path("svid", required: true)
      let key = files.secret("key")
      guard let svid, let key else { return nil }
      return .files(svid: svid, key: key)
    }
  }

  private static func workloadAPI(_ text: Located<String>, _ reader: MappingReader) -> WorkloadAPIAddress? {
    do throws(WorkloadAPIAddress.Fault) {
      return try WorkloadAPIAddress(parsing: text.value)
    } catch {
      reader.problems.report(
        text.position, "identity.workloadAPI is \(Problem.quote(text.value)), which \(error.what)",
        howToFix: error.howToFix)
      return nil
    }
  }

  private static func choice(_ reader: MappingReader) -> SVIDChoice? {
    let hint = reader.string("hint")
    let id = reader.string("spiffeID")
    guard (reader.entry("hint") == nil) != (reader.entry("spiffeID") == nil) else {
      reader.problems.report(reader.position, "identity.select takes hint or spiffeID, and one of them only")
      return nil
    }
    if let hint { return .hint(hint.value) }
    return id.flatMap { reader.workloadID($0, name: reader.name("spiffeID")) }.map { .spiffeID($0) }
  }

  // MARK: bundles

  private static func bundles(of reader: MappingReader) -> [BundleFile]? {
    guard let entries = reader.freeEntries("bundles") else {
      guard reader.entry("bundles") == nil else { return nil }
      // The Workload API brings its own.
      guard reader.entry("files") != nil else { return [] }
      reader.problems.report(
        reader.position, "the key \"bundles\" is missing in identity",
        why: "without a bundle nobody can be verified",
        howToFix: "add bundles: { TRUST_DOMAIN: FILE }")
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

extension MappingReader {
  /// The SPIFFE ID of one workload.
  func workloadID(_ text: Located<String>, name: String) -> SPIFFEID? {
    do throws(SPIFFEError) {
      let id = try SPIFFEID(parsing: text.value)
      guard id.namesWorkload else {
        problems.report(
          text.position, "\(name) is \(id), which names a trust domain and no workload",
          howToFix: "add the workload's path")
        return nil
      }
      return id
    } catch {
      problems.report(
        text.position, "\(name) is \(Problem.quote(text.value)), which is no SPIFFE ID",
        why: error.what, howToFix: error.howToFix)
      return nil
    }
  }
}
