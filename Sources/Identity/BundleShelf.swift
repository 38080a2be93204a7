// The last good bundle of every bundle endpoint, on disk: a host that starts while a partner's endpoint is away still
// knows the partner's trust domain, and still knows how far its sequence had come.
//
//   STATE/bundles/      0700, ours
//     partner.org       0600: one line with form and SHA-256, then JSON: who must publish it, when it came, what it said
//
// A bundle says whom to believe, so a file counts only when nobody else could have written it, its hash is right, and
// it was fetched from where the configuration of today would fetch it. Anything else is moved out of the way and told.
// Every call blocks: for a worker. Never for our own trust domain, whose bundle comes with our SVID (decision 084).

import Digest
import FoundationEssentials
import Glibc
public import Primitives
import SPIFFE
import Transport
public import Trust

/// What an endpoint published last, and when.
public struct KeptBundle: Sendable, Hashable {
  public let endpoint: BundleEndpoint
  public let bundle: Bundle
  public let fetchedAt: Timestamp

  public init(endpoint: BundleEndpoint, bundle: Bundle, fetchedAt: Timestamp) {
    self.endpoint = endpoint
    self.bundle = bundle
    self.fetchedAt = fetchedAt
  }
}

/// A folder of kept bundles. A value: every call looks at the disk.
public struct BundleShelf: Sendable, Equatable {
  public let folder: String

  public init(folder: String) { self.folder = folder }

  /// What is kept for these endpoints, and what is wrong with the rest. Files of endpoints that are not among them are
  /// removed: what nobody names any more is trusted no more, not even after it is named again.
  public func restore(_ endpoints: [BundleEndpoint]) -> (kept: [KeptBundle], troubles: [ShelfTrouble]) {
    var kept: [KeptBundle] = []
    var troubles: [ShelfTrouble] = []
    let names = names
    guard !names.isEmpty else { return ([], []) }
    do throws(ShelfTrouble) { try checkFolder() } catch { return ([], [error]) }
    for endpoint in endpoints where names.contains(BundleShelf.name(of: endpoint.trustDomain)) {
      do throws(ShelfTrouble) {
        if let found = try read(endpoint) { kept.append(found) }
      } catch {
        troubles.append(error)
      }
    }
    forget(besides: endpoints)
    return (kept, troubles)
  }

  /// Replaces what is kept for the endpoint's trust domain, whole or not at all, also when power is lost.
  public func keep(_ kept: KeptBundle) throws(ShelfTrouble) {
    try prepare()
    let path = path(of: kept.endpoint.trustDomain)
    let fresh = path + BundleShelf.freshSuffix
    do throws(SystemFault) {
      try SmallFile.write(BundleShelf.content(kept), to: fresh)
      guard unsafe rename(fresh, path) == 0 else { throw SystemFault(number: errno) }
      if let number = PlainFiles.flush(folder: folder) { throw SystemFault(number: number) }
    } catch {
      unsafe _ = unlink(fresh)
      throw .unwritable(path: path, number: error.number)
    }
  }

  /// Removes what is kept for others than these.
  public func forget(besides endpoints: [BundleEndpoint]) {
    let used = Set(endpoints.map { BundleShelf.name(of: $0.trustDomain) })
    for name in names where !used.contains(name) && !name.hasSuffix(BundleShelf.asideSuffix) {
      unsafe _ = unlink(folder + "/" + name)
    }
  }

  // MARK: names

  private static let freshSuffix = ".new"
  private static let asideSuffix = ".aside"
  /// Bytes of a name that is the trust domain's. Reason: a file system's 255, with a suffix.
  private static let plainMost = 200

  /// A trust domain has no slash, but may have more characters than a file's name, or be two dots.
  static func name(of trustDomain: TrustDomain) -> String {
    let name = trustDomain.name
    guard name.utf8.count <= plainMost, !name.hasPrefix("."), !name.hasSuffix(freshSuffix),
      !name.hasSuffix(asideSuffix)
    else { return "sha256-" + Hex.encode(SHA256.hash(Array(name.utf8))) }
    return name
  }

  func path(of trustDomain: TrustDomain) -> String { folder + "/" + BundleShelf.name(of: trustDomain) }

  private var names: [String] {
    PlainFiles.names(in: folder).sorted()
  }

  // MARK: the folder

  private func prepare() throws(ShelfTrouble) {
    let parent = folder.lastIndex(of: "/").map { String(folder[..<$0]) } ?? "."
    for path in [parent, folder] where unsafe !path.isEmpty && mkdir(path, 0o700) != 0 && errno != EEXIST {
      throw .unwritable(path: path, number: errno)
    }
    try checkFolder()
  }

  /// Who may write into the folder may put any bundle there.
  private func checkFolder() throws(ShelfTrouble) {
    var status = stat()
    guard unsafe lstat(folder, &status) == 0 else { throw .unwritable(path: folder, number: errno) }
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
      throw .folderOpen(path: folder)
    }
  }

  // MARK: reading

  /// Nil when it was fetched from somewhere else than the endpoint: then it is none of ours.
  private func read(_ endpoint: BundleEndpoint) throws(ShelfTrouble) -> KeptBundle? {
    let path = path(of: endpoint.trustDomain)
    let text: [UInt8]
    do throws(SystemFault) {
      text = try SmallFile.readPrivate(path)
    } catch {
      switch error.number {
      case ENOENT: return nil
      case EPERM, ELOOP: throw setAside(path, "others than our user may write or replace it")
      default: throw .unreadable(path: path, number: error.number)
      }
    }
    do throws(Damage) {
      let file = try KeptFile(text)
      guard file.isOf(endpoint) else { return nil }
      return try file.bundle(of: endpoint)
    } catch {
      throw setAside(path, error.reason)
    }
  }

  /// One is kept for people to look at: the newest.
  private func setAside(_ path: String, _ reason: String) -> ShelfTrouble {
    let aside = path + BundleShelf.asideSuffix
    let moved = unsafe rename(path, aside) == 0
    return .damaged(path: path, reason: reason, aside: moved ? aside : nil)
  }

  private static func content(_ kept: KeptBundle) -> [UInt8] { KeptFile(kept).text }
}

/// What is wrong with the content of a file.
private struct Damage: Error {
  let reason: String
}

/// The file's text and back.
private struct KeptFile: Codable {
  var trustDomain: String
  var url: String
  /// Nil: the profile is `https_web`.
  var spiffeID: String?
  var fetchedAt: String
  var sequence: UInt64?
  /// Seconds.
  var refreshHint: Int64?
  /// Base64 of DER each.
  var anchors: [String]

  private static let form = "meshrelay-bundle-1"

  init(_ kept: KeptBundle) {
    trustDomain = kept.endpoint.trustDomain.name
    url = kept.endpoint.target.description
    spiffeID = kept.endpoint.publisher
    fetchedAt = kept.fetchedAt.rfc3339
    sequence = kept.bundle.sequence
    refreshHint = kept.bundle.refreshHint?.components.seconds
    anchors = kept.bundle.anchors.map { Base64.encode($0[...]) }
  }

  var text: [UInt8] {
    var writer = JSONWriter()
    writer.object { object in
      object.field("trustDomain", trustDomain)
      object.field("url", url)
      object.field("spiffeID", spiffeID)
      object.field("fetchedAt", fetchedAt)
      object.key("sequence")
      if let sequence { object.raw(String(sequence)) } else { object.null() }
      object.key("refreshHint")
      if let refreshHint { object.integer(refreshHint) } else { object.null() }
      object.field("anchors", strings: anchors)
    }
    let body = writer.bytes + [UInt8(ascii: "\n")]
    return Array("\(KeptFile.form) \(Hex.encode(SHA256.hash(body)))\n".utf8) + body
  }

  init(_ text: [UInt8]) throws(Damage) {
    guard let end = text.firstIndex(of: UInt8(ascii: "\n")) else { throw Damage(reason: "it is cut off") }
    let head = String(decoding: text[..<end], as: UTF8.self).split(separator: " ")
    let body = Array(text[(end + 1)...])
    guard head.count == 2, head[0] == KeptFile.form else { throw Damage(reason: "it has another form") }
    guard Hex.encode(SHA256.hash(body)) == head[1] else { throw Damage(reason: "its hash is wrong") }
    do { self = try JSONDecoder().decode(KeptFile.self, from: Data(body)) } catch {
      throw Damage(reason: "it is not what it should be inside")
    }
  }

  func isOf(_ endpoint: BundleEndpoint) -> Bool {
    trustDomain == endpoint.trustDomain.name && url == endpoint.target.description
      && spiffeID == endpoint.publisher
  }

  func bundle(of endpoint: BundleEndpoint) throws(Damage) -> KeptBundle {
    var der: [[UInt8]] = []
    for anchor in anchors {
      guard let bytes = Base64.decode(Array(anchor.utf8)) else {
        throw Damage(reason: "an anchor is no base64")
      }
      der.append(bytes)
    }
    guard let time = Timestamp(rfc3339: fetchedAt) else { throw Damage(reason: "its time cannot be read") }
    do throws(TrustError) {
      let bundle = try Bundle(
        trustDomain: endpoint.trustDomain, anchors: der, sequence: sequence,
        refreshHint: refreshHint.map { .seconds($0) })
      return KeptBundle(endpoint: endpoint, bundle: bundle, fetchedAt: time)
    } catch {
      throw Damage(reason: error.what)
    }
  }
}

extension BundleEndpoint {
  /// Who must publish; nil for a web server.
  fileprivate var publisher: String? {
    if case .spiffe(let id) = profile { id.description } else { nil }
  }
}

/// Why a bundle is not kept, or what was kept is not used. None of it ends anything.
public enum ShelfTrouble: Explained, Equatable {
  /// `number` is the system's errno.
  case unreadable(path: String, number: Int32)
  case unwritable(path: String, number: Int32)
  /// Others may write into the folder, so nothing in it proves anything.
  case folderOpen(path: String)
  /// `aside`: where it lies now; nil: it could not be moved and is passed over.
  case damaged(path: String, reason: String, aside: String?)

  public var what: String {
    switch self {
    case .unreadable(let path, let number), .unwritable(let path, let number):
      "\(path), where fetched bundles are kept over a restart, cannot be used (\(SystemError.name(number)))"
    case .folderOpen(let path):
      "\(path), where fetched bundles are kept, is no folder that only our user may write"
    case .damaged(let path, let reason, let aside):
      "The kept bundle \(path) is not used: \(reason)" + (aside.map { "; it was moved to \($0)" } ?? "")
    }
  }

  public var why: String {
    switch self {
    case .unreadable(_, let number), .unwritable(_, let number): SystemError.cause(number)
    case .folderOpen: "Who may write there could make us trust anybody"
    case .damaged: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .unreadable, .unwritable: "Let `state` name a folder that the user of meshrelay may write"
    case .folderOpen(let path): "Run: chmod 0700 \(path), as its owner, the user of meshrelay"
    case .damaged: "Nothing: the next document of the endpoint is kept"
    }
  }

  public var blame: Blame { .operator }
}
