// Admission: the one door through which an object enters a snapshot.
//
// The envelope is decoded strictly and encoded anew, so that every client of every tier reads the
// same name, type and metadata; only the body's bytes pass untouched. What breaks a rule is set aside
// alone. Everything hashed here is equal on every tier: body, labels and annotations, never where or
// when the object was seen.

public import Primitives

/// Gives the canonical form of a body (fields in number order, maps sorted), by descriptor. Nil: the
/// message is not known, and its bytes stand for themselves. Throws: the bytes are not that message.
public typealias BodyCanonicalizer =
  @Sendable (_ bodyMessage: String, _ body: [UInt8]) throws(BodyFault) -> [UInt8]?

/// Why bytes are not the message they should be.
public struct BodyFault: Error, Sendable, Equatable {
  public let reason: String

  public init(_ reason: String) { self.reason = reason }
}

public enum Admission {
  /// Checks every rule and encodes the object.
  public static func admit(
    type: TypeName, draft: ResourceDraft, limits: Limits, canonicalize: BodyCanonicalizer? = nil
  ) throws(AdmissionError) -> Resource {
    try admit(type: type, draft: draft, limits: limits, intake: Intake(canonicalize: canonicalize))
  }

  /// The same for a source that rewrites bodies: every rule holds for what is served. Whether the object is
  /// left out is for the caller to ask, who knows what that means.
  public static func admit(
    type: TypeName, draft: ResourceDraft, limits: Limits, intake: Intake
  ) throws(AdmissionError) -> Resource {
    let kind = Kinds[type]
    var draft = draft
    try checkBody(draft, kind: kind)
    if kind?.isBare == true {
      draft.namespace = ""
      draft.name = Kind.bareName
      draft.labels = []
      draft.annotations = []
      draft.createTime = Timestamp(seconds: 0)
    } else {
      try checkNames(draft, kind: kind)
      try checkTime(draft.createTime)
      draft.labels = try sorted(draft.labels)
      draft.annotations = try sorted(draft.annotations.filter { $0.key != reservedAnnotation })
    }
    // Before encoding, so that an oversized body is never copied.
    try checkSize(draft.body.count, limits)
    if let rewrite = intake.rewrite {
      do {
        draft.body = try rewrite(draft, type) ?? draft.body
      } catch {
        throw .brokenBody(error.reason)
      }
    }
    let version = try contentVersion(draft, intake.canonicalize)
    let resource = Resource(
      draft, type: type, wireName: wireName(namespace: draft.namespace, name: draft.name),
      version: version, isBare: kind?.isBare == true)
    try checkSize(resource.byteCount, limits)
    return resource
  }

  /// `namespace/name`, or `name` alone without a namespace.
  public static func wireName(namespace: String, name: String) -> String {
    namespace.isEmpty ? name : namespace + "/" + name
  }

  /// The name under which a collection holds what a peer calls `peerName`: bare kinds have one fixed
  /// name, and a cluster-scoped `/name` is `name`.
  public static func heldName(of peerName: String, type: TypeName) -> String {
    if Kinds[type]?.isBare == true { return Kind.bareName }
    return peerName.utf8.first == UInt8(ascii: "/") ? String(peerName.dropFirst()) : peerName
  }

  /// istiod keeps the stored version under this annotation key while it updates an object; sent from
  /// outside it would corrupt that.
  private static let reservedAnnotation = "ResourceVersion"

  /// Hash over everything that makes the object what it is. Its name is not part of it (a collection's
  /// version covers names), nor its creation time, which tiers may know differently.
  static func contentVersion(
    _ draft: ResourceDraft, _ canonicalize: BodyCanonicalizer?
  ) throws(AdmissionError) -> Version {
    var canonical: [UInt8]?
    if let canonicalize {
      do {
        canonical = try canonicalize(draft.bodyMessage, draft.body)
      } catch {
        throw .brokenBody(error.reason)
      }
    }
    return contentVersion(draft, canonical: canonical)
  }

  /// `canonical`: the body's canonical form; nil: it has none.
  static func contentVersion(_ draft: ResourceDraft, canonical: [UInt8]?) -> Version {
    var content = HashedContent()
    content.append(draft.bodyMessage)
    content.append(canonical ?? draft.body)
    content.append(draft.labels)
    content.append(draft.annotations)
    return content.version
  }

  private static func checkBody(_ draft: ResourceDraft, kind: Kind?) throws(AdmissionError) {
    if let kind {
      guard draft.bodyMessage == kind.bodyMessage else {
        throw .wrongBody(expected: kind.bodyMessage, found: draft.bodyMessage)
      }
    } else {
      let isMessageName =
        (1...256).contains(draft.bodyMessage.utf8.count)
        && draft.bodyMessage.utf8.allSatisfy { NameRules.isMessageNameByte($0) }
      guard isMessageName else { throw .wrongBody(expected: "a message name", found: draft.bodyMessage) }
    }
  }

  private static func checkNames(_ draft: ResourceDraft, kind: Kind?) throws(AdmissionError) {
    switch kind?.isClusterScoped {
    case true?:
      guard draft.namespace.isEmpty else { throw .unexpectedNamespace(draft.namespace) }
    case false?:
      guard NameRules.isLabel(draft.namespace) else { throw .badNamespace(draft.namespace) }
    case nil:
      guard draft.namespace.isEmpty || NameRules.isLabel(draft.namespace) else {
        throw .badNamespace(draft.namespace)
      }
    }
    guard NameRules.isSubdomain(draft.name) else { throw .badName(draft.name) }
  }

  /// The range of google.protobuf.Timestamp; Go receivers drop an object outside it.
  private static func checkTime(_ time: Timestamp) throws(AdmissionError) {
    guard (-62_135_596_800...253_402_300_799).contains(time.seconds),
      (0...999_999_999).contains(time.nanoseconds)
    else { throw .badTime(seconds: time.seconds, nanoseconds: Int64(time.nanoseconds)) }
  }

  private static func checkSize(_ bytes: Int, _ limits: Limits) throws(AdmissionError) {
    guard bytes <= limits.resourceBytes else { throw .tooLarge(bytes: bytes, limit: limits.resourceBytes) }
  }

  private static func sorted(
    _ pairs: [(key: String, value: String)]
  ) throws(AdmissionError) -> [(key: String, value: String)] {
    let result = pairs.sorted { $0.key < $1.key }
    for (index, pair) in result.enumerated() {
      guard !pair.key.isEmpty, index == 0 || result[index - 1].key != pair.key else {
        throw .badKey(pair.key)
      }
    }
    return result
  }
}

/// Names as RFC 1123 has them, in the lower-case form Kubernetes asks for.
public enum NameRules {
  /// 1 … 63 of `a-z 0-9 -`, beginning and ending with a letter or digit.
  public static func isLabel(_ text: String) -> Bool { isLabel(Substring(text).utf8) }

  /// Labels joined by dots, at most 253 bytes.
  public static func isSubdomain(_ text: String) -> Bool {
    (1...253).contains(text.utf8.count)
      && text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        .allSatisfy { isSubdomainPart($0) }
  }

  private static func isLabel(_ text: Substring.UTF8View) -> Bool {
    text.count <= 63 && isSubdomainPart(text)
  }

  /// Kubernetes limits the whole subdomain only, not its parts.
  private static func isSubdomainPart(_ text: Substring.UTF8View) -> Bool {
    guard let first = text.first, let last = text.last else { return false }
    return isAlphanumeric(first) && isAlphanumeric(last)
      && text.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
      || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  static func isMessageNameByte(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
      || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
  }
}
