// The list `identity.federation`: where bundles of other trust domains are published. Nothing is fetched here.
// Source: SPIFFE Federation, section 5; RFC 3986 for the URL.

internal import Documents
public import SPIFFE

/// One relationship: whose bundle, from where, and how the server there proves itself.
public struct FederationSettings: Sendable, Hashable {
  public enum Profile: Sendable, Hashable {
    /// By the authorities of this host and the URL's name.
    case web
    /// By being exactly this workload.
    case spiffe(SPIFFEID)
  }

  public let trustDomain: TrustDomain
  public let url: SecureURL
  public let profile: Profile

  /// The workload that must publish; nil: a web server.
  public var publisher: SPIFFEID? { if case .spiffe(let id) = profile { id } else { nil } }

  static func readAll(_ reader: MappingReader) -> [FederationSettings]? {
    guard reader.entry("federation") != nil else { return [] }
    var known: Set<TrustDomain> = []
    return reader.mappings("federation") { item in
      guard let settings = read(item) else { return nil }
      if !known.insert(settings.trustDomain).inserted {
        item.problems.report(
          item.position, "\(settings.trustDomain) stands twice in identity.federation", howToFix: "remove one"
        )
      }
      return settings
    }
  }

  private static func read(_ reader: MappingReader) -> FederationSettings? {
    let trustDomain = reader.string("trustDomain", required: true).flatMap { domain(of: $0, reader) }
    let url = reader.string("url", required: true).flatMap { address(of: $0, reader) }
    let profile = profile(of: reader)
    guard let trustDomain, let url, let profile else { return nil }
    return FederationSettings(trustDomain: trustDomain, url: url, profile: profile)
  }

  private static func domain(of text: Located<String>, _ reader: MappingReader) -> TrustDomain? {
    do throws(SPIFFEError) { return try TrustDomain(text.value) } catch {
      reader.problems.report(
        text.position,
        "\(reader.name("trustDomain")) is \(Problem.quote(text.value)), which is no trust domain",
        why: error.what, howToFix: error.howToFix)
      return nil
    }
  }

  private static func address(of text: Located<String>, _ reader: MappingReader) -> SecureURL? {
    do throws(SecureURL.Fault) { return try SecureURL(parsing: text.value) } catch {
      reader.problems.report(
        text.position, "\(reader.name("url")) is \(Problem.quote(text.value)), which \(error.what)",
        howToFix: "write it like https://partner.org/bundle.json")
      return nil
    }
  }

  private static func profile(of reader: MappingReader) -> Profile? {
    let id = reader.string("spiffeID")
    guard reader.node("profile", required: true) != nil,
      let word = reader.choice("profile", of: ["https_spiffe", "https_web"])
    else { return nil }
    if word.value == "https_web" {
      if let id {
        reader.problems.report(
          id.position, "\(reader.name("spiffeID")) has no meaning with the profile https_web",
          howToFix: "remove it, or use https_spiffe")
      }
      return .web
    }
    guard let id else {
      if reader.entry("spiffeID") == nil {
        reader.problems.report(
          reader.position, "the key \"spiffeID\" is missing in \(reader.path)",
          why: "with the profile https_spiffe the server proves that it is this workload")
      }
      return nil
    }
    return reader.workloadID(id, name: reader.name("spiffeID")).map { .spiffe($0) }
  }
}

/// `https://host[:port][/path][?query]`.
public struct SecureURL: Sendable, Hashable, CustomStringConvertible {
  public let host: String
  public let port: UInt16
  /// With its query; begins with a slash.
  public let path: String

  struct Fault: Error, Equatable {
    let what: String
  }

  init(parsing text: String) throws(Fault) {
    guard text.lowercased().hasPrefix("https://") else { throw Fault(what: "does not begin with https://") }
    let rest = text.dropFirst("https://".count)
    let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
    var authority = String(rest[..<end])
    guard !authority.contains("@") else { throw Fault(what: "has user information in it") }
    let tail = String(rest[end...])
    guard !tail.contains("#") else { throw Fault(what: "has a fragment in it") }
    guard tail.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw Fault(what: "has characters in it that must be percent-encoded")
    }
    // What has no port has the standard one.
    if authority.hasSuffix("]") || !authority.contains(":") { authority += ":443" }
    let address: NetworkAddress
    do throws(NetworkAddress.Fault) { address = try NetworkAddress(parsing: authority) } catch {
      throw Fault(what: error.what)
    }
    guard address.port != 0 else { throw Fault(what: "has the port 0") }
    host = address.host
    port = address.port
    path = tail.hasPrefix("/") ? tail : "/" + tail
  }

  public var description: String {
    let name = host.contains(":") ? "[\(host)]" : host
    return "https://\(name)\(port == 443 ? "" : ":\(port)")\(path)"
  }
}
