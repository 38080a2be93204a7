// The canonical form as Snapshots asks for it: a function handed to admission, because Snapshots stands
// below this room and knows no descriptors.

public import Snapshots

extension CanonicalForm {
  /// For `Admission.admit(…, canonicalize:)`.
  public var bodyCanonicalizer: BodyCanonicalizer {
    let form = self
    return { (bodyMessage: String, body: [UInt8]) throws(BodyFault) -> [UInt8]? in
      guard form.schema.contains(message: bodyMessage) else { return nil }
      guard let canonical = form.canonicalBody(body, message: bodyMessage) else {
        throw BodyFault(
          "it is not \(bodyMessage): malformed, text that is not UTF-8, or more than "
            + "\(CanonicalForm.depthMax) levels deep")
      }
      return canonical
    }
  }
}
