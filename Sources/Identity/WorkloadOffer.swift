// One answer of the SPIFFE Workload API to FetchX509SVID, and what of it we may use.
//
// An agent is trusted with our key, but not to be free of mistakes: what we take is an SVID that its own bundle
// verifies in both roles. Every answer is the full state and replaces the one before; one that cannot be used
// changes nothing. Pure functions of bytes and time. Source: SPIFFE Workload API, section 5; WIRE.md 4.4.

import FoundationEssentials
public import Primitives
import Protos
public import SPIFFE
import SwiftProtobuf
public import TLS
public import Trust

/// Which of several SVIDs; without a choice it is the first.
public enum SVIDChoice: Sendable, Hashable, CustomStringConvertible {
  case hint(String)
  case spiffeID(SPIFFEID)

  public var description: String {
    switch self {
    case .hint(let hint): "the hint \"\(ForeignText.line(hint))\""
    case .spiffeID(let id): "the SPIFFE ID \(id)"
    }
  }
}

/// An X509SVIDResponse as it came. Holds keys: never printed.
public struct WorkloadOffer: Sendable, CustomStringConvertible, CustomReflectable {
  struct Item: Sendable {
    let id: String
    let hint: String
    /// Concatenated DER, leaf first.
    let chain: [UInt8]
    /// PKCS#8 DER.
    let key: SecretBytes
    /// Concatenated DER.
    let bundle: [UInt8]
  }

  let items: [Item]
  /// By trust domain as it was written; sorted.
  let federated: [(name: String, bundle: [UInt8])]
  let revocations: [RevocationList]

  /// SVIDs of one answer. Reason: an agent has a handful of entries for one workload.
  private static let itemsMax = 256

  public init(decoding bytes: [UInt8]) throws(WorkloadTrouble) {
    var message: WorkloadAPI_X509SVIDResponse
    do {
      message = try WorkloadAPI_X509SVIDResponse(serializedBytes: bytes)
    } catch {
      throw .malformed(reason: "it is no X509SVIDResponse")
    }
    // What the decoder has copied of the keys.
    defer { for index in message.svids.indices { message.svids[index].wipeKey() } }
    guard !message.svids.isEmpty else { throw .malformed(reason: "it holds no SVID") }
    guard message.svids.count <= WorkloadOffer.itemsMax else {
      throw .malformed(reason: "it holds \(message.svids.count) SVIDs")
    }
    var items: [Item] = []
    for (index, svid) in message.svids.enumerated() {
      let missing = [
        ("spiffe_id", svid.spiffeID.isEmpty), ("x509_svid", svid.x509Svid.isEmpty),
        ("x509_svid_key", svid.x509SvidKey.isEmpty), ("bundle", svid.bundle.isEmpty),
      ].filter(\.1).map(\.0)
      guard missing.isEmpty else {
        throw .malformed(reason: "SVID \(index + 1) lacks \(missing.joined(separator: ", "))")
      }
      // Hints are unique; of several equal ones the first counts.
      guard svid.hint.isEmpty || !items.contains(where: { $0.hint == svid.hint }) else { continue }
      let key = unsafe svid.x509SvidKey.withUnsafeBytes { unsafe SecretBytes(copying: $0) }
      items.append(
        Item(
          id: svid.spiffeID, hint: svid.hint, chain: Array(svid.x509Svid), key: key,
          bundle: Array(svid.bundle)))
    }
    self.items = items
    revocations = try WorkloadOffer.revocations(message.crl)
    federated = message.federatedBundles.sorted { $0.key < $1.key }.map { ($0.key, Array($0.value)) }
  }

  /// All or nothing: one that is passed over might be the one that matters.
  private static func revocations(_ lists: [Data]) throws(WorkloadTrouble) -> [RevocationList] {
    var found: [RevocationList] = []
    for (index, list) in lists.enumerated() {
      do throws(TLSError) { found.append(try RevocationList(der: Array(list))) } catch {
        throw .malformed(reason: "revocation list \(index + 1) cannot be read")
      }
    }
    return found
  }

  /// Whether an SVID of this identity is among them, usable or not.
  public func names(_ id: SPIFFEID) -> Bool { items.contains { $0.id == id.description } }

  public var description: String { "\(items.count) SVIDs, \(federated.count) federated bundles" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

extension WorkloadAPI_X509SVID {
  /// Nobody else holds these bytes, so they are zeroed where they are.
  fileprivate mutating func wipeKey() {
    x509SvidKey.resetBytes(in: x509SvidKey.startIndex..<x509SvidKey.endIndex)
  }
}

/// What an offer amounts to.
public struct WorkloadIdentity: Sendable {
  public let svid: X509SVID
  /// Of our own trust domain and of those it is federated with.
  public let bundles: [TrustDomain: Bundle]
  /// Bundles of other trust domains that cannot be used, by their trust domain.
  public let faults: [TrustDomain: WorkloadTrouble]
  /// Certificates that their issuers have revoked, whichever trust domain they are of.
  public let revocations: [RevocationList]
}

extension WorkloadOffer {
  /// Chooses, and proves usable at `instant`, what was offered.
  public func resolve(_ choice: SVIDChoice?, at instant: Timestamp) throws(WorkloadTrouble)
    -> WorkloadIdentity
  {
    guard let item = items.first(where: { WorkloadOffer.is($0, choice) }) else {
      throw .noSuchSVID(choice, offered: items.prefix(20).map(WorkloadOffer.label))
    }
    let svid = try WorkloadOffer.svid(of: item)
    let trustDomain = svid.id.trustDomain
    var own: Bundle
    do throws(TrustError) {
      own = try Bundle.parse(concatenatedDER: item.bundle, trustDomain: trustDomain)
      own.revocations = revocations
    } catch {
      throw .bundle(trustDomain, error)
    }
    let credentials = Credentials(svid: svid, bundles: [trustDomain: own], generation: 0)
    do throws(VerificationFailure) { _ = try credentials.verifyOwnSVID(at: instant) } catch {
      throw .unusable(svid.id, error)
    }
    let (others, faults) = foreignBundles(own: trustDomain)
    return WorkloadIdentity(
      svid: svid, bundles: others.merging([trustDomain: own]) { _, own in own }, faults: faults,
      revocations: revocations)
  }

  private static func `is`(_ item: Item, _ choice: SVIDChoice?) -> Bool {
    switch choice {
    case .hint(let hint): item.hint == hint
    case .spiffeID(let id): (try? SPIFFEID(parsing: item.id)) == id
    case nil: true
    }
  }

  /// How an SVID is named to the operator.
  private static func label(_ item: Item) -> String {
    let id = ForeignText.line(item.id)
    return item.hint.isEmpty ? id : "\(id) (hint \"\(ForeignText.line(item.hint))\")"
  }

  private static func svid(of item: Item) throws(WorkloadTrouble) -> X509SVID {
    let svid: X509SVID
    do throws(TrustError) {
      svid = try X509SVID(derChain: item.chain, derKey: item.key)
    } catch {
      throw .svid(label(item), error)
    }
    guard svid.id.description == item.id else { throw .otherID(said: label(item), found: svid.id) }
    return svid
  }

  /// Bundles that came beside our own. Never one for our own trust domain: that comes with our SVID only.
  private func foreignBundles(
    own: TrustDomain
  ) -> (bundles: [TrustDomain: Bundle], faults: [TrustDomain: WorkloadTrouble]) {
    var bundles: [TrustDomain: Bundle] = [:]
    var faults: [TrustDomain: WorkloadTrouble] = [:]
    // Other SVIDs of this workload may belong to other trust domains, and bring their bundles along.
    let beside = items.map { (name: $0.id, bundle: $0.bundle) }
    for (name, bytes) in federated + beside {
      guard let trustDomain = WorkloadOffer.trustDomain(name), trustDomain != own,
        bundles[trustDomain] == nil, faults[trustDomain] == nil
      else { continue }
      do throws(TrustError) {
        // A trust domain that has revoked all of its keys has an empty bundle.
        bundles[trustDomain] =
          bytes.isEmpty
          ? try Bundle(trustDomain: trustDomain, anchors: [])
          : try Bundle.parse(concatenatedDER: bytes, trustDomain: trustDomain)
      } catch {
        faults[trustDomain] = .bundle(trustDomain, error)
      }
    }
    return (bundles, faults)
  }

  /// The standard writes the trust domain's SPIFFE ID, some agents its bare name.
  private static func trustDomain(_ text: String) -> TrustDomain? {
    if let id = try? SPIFFEID(parsing: text) { return id.trustDomain }
    return try? TrustDomain(text)
  }
}
