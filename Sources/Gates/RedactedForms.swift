// What classes with a redaction are served instead of the objects of the newest snapshot: each form made once for all
// classes that hide the same keys, and again only when its object changes.
//
// Older content, which gates keep, finds here what did not change since; the rest is made when it is asked for. A form
// is kept as long as its object is in the newest snapshot and some class has its redaction. Pure.

internal import Policy
internal import Snapshots

struct RedactedForms: Sendable {
  private struct Form {
    let original: Resource
    let redacted: Resource
  }

  let canonicalize: BodyCanonicalizer?
  /// Of objects that have something to hide, by wire name.
  private var known: [Redaction: [TypeName: [String: Form]]] = [:]

  init(canonicalize: BodyCanonicalizer?) { self.canonicalize = canonicalize }

  /// What is served instead of an object of the newest snapshot.
  mutating func form(of resource: Resource, _ redaction: Redaction?) -> Resource {
    guard let redaction else { return resource }
    let last = known[redaction]?[resource.type]?[resource.wireName]
    if let last, last.original === resource { return last.redacted }
    var redacted = redaction.form(of: resource, canonicalize)
    // What changed was hidden: whoever holds the last form has this one.
    if let last, redacted.isInterchangeable(with: last.redacted) { redacted = last.redacted }
    let form = redacted === resource ? nil : Form(original: resource, redacted: redacted)
    if form != nil || last != nil {
      known[redaction, default: [:]][resource.type, default: [:]][resource.wireName] = form
    }
    return redacted
  }

  /// What is served instead of any object, the newest or an older one.
  func anyForm(of resource: Resource, _ redaction: Redaction?) -> Resource {
    guard let redaction else { return resource }
    if let last = known[redaction]?[resource.type]?[resource.wireName],
      last.original.isInterchangeable(with: resource)
    {
      return last.redacted
    }
    return redaction.form(of: resource, canonicalize)
  }

  /// Objects that are in the newest snapshot no more.
  mutating func forget(_ type: TypeName, names: [String]) {
    for redaction in known.keys {
      for name in names { known[redaction]?[type]?.removeValue(forKey: name) }
    }
  }

  /// The rules changed.
  mutating func keepOnly(_ redactions: Set<Redaction>) {
    known = known.filter { redactions.contains($0.key) }
  }
}
