// The SPIFFE bundle document: a JWK set in JSON. Only its X.509 authorities matter here; other keys and unknown
// members are passed over, as the standard asks. Source: SPIFFE Trust Domain and Bundle, section 4; RFC 7517.

import FoundationEssentials

struct BundleDocument {
  /// DER of the signing certificates, in order.
  let anchors: [[UInt8]]
  let sequence: UInt64?
  let refreshHint: Duration?

  init(parsing json: [UInt8]) throws(TrustError) {
    let set: KeySet
    do {
      set = try JSONDecoder().decode(KeySet.self, from: Data(json))
    } catch {
      throw .documentUnreadable(reason: BundleDocument.reason(error))
    }
    var anchors: [[UInt8]] = []
    for (index, key) in set.keys.enumerated() {
      // Publishers put exactly one certificate; consumers take the first. An entry without one is passed over, and so is
      // one of a type or a use that the standard does not know.
      guard let type = key.kty, BundleDocument.keyTypes.contains(type), key.use == "x509-svid",
        let text = key.x5c?.first
      else { continue }
      guard let der = Data(base64Encoded: text) else { throw .keyUnreadable(index: index) }
      anchors.append(Array(der))
    }
    self.anchors = anchors
    sequence = set.sequence
    refreshHint = set.refreshHint.map { .seconds($0) }
  }

  private static let keyTypes = ["EC", "RSA"]

  private struct KeySet: Decodable {
    let keys: [Key]
    let sequence: UInt64?
    /// Seconds.
    let refreshHint: UInt32?

    enum CodingKeys: String, CodingKey {
      case keys
      case sequence = "spiffe_sequence"
      case refreshHint = "spiffe_refresh_hint"
    }
  }

  /// One JWK, as far as X.509 authorities go.
  private struct Key: Decodable {
    let kty: String?
    let use: String?
    /// Standard base64, not the URL form.
    let x5c: [String]?

    enum CodingKeys: String, CodingKey {
      case kty
      case use
      case x5c
    }

    init(from decoder: any Decoder) throws {
      let members = try decoder.container(keyedBy: CodingKeys.self)
      kty = try? members.decode(String.self, forKey: .kty)
      use = try? members.decode(String.self, forKey: .use)
      // Malformed members of keys that are not ours are none of our business.
      x5c = use == "x509-svid" ? try members.decodeIfPresent([String].self, forKey: .x5c) : nil
    }
  }

  private static func reason(_ error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, _): "the member \(key.stringValue) is missing"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
      DecodingError.dataCorrupted(let context):
      context.codingPath.isEmpty
        ? "it is not a JSON object"
        : "the member \(context.codingPath.map(\.stringValue).joined(separator: ".")) is malformed"
    default: "it is not a JSON object"
    }
  }
}
