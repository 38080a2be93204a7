// The views of clusters behind gates: what a gate keeps, cut by the policy of now. Made when a gate closes or the
// rules change, and edited when an object's newest form tells more than its kept one. Pure.

internal import Policy
internal import Snapshots

struct KeptViews: Sendable {
  struct Key: Hashable {
    let classIndex: Int
    /// `Gate.number`.
    let gate: UInt64
  }

  private var cuts: [Key: [TypeName: Collection]] = [:]
  /// Names that clients lost by an operator's word and not by policy.
  private var causes: [Key: RemovalCauses] = [:]
  /// How objects were when they went, since there are gates: one that its class might not see then is not shown
  /// to it as it was before that.
  private(set) var lastForms: [TypeName: [String: ObjectFacts]] = [:]
  private var lastFormsCount = 0
  /// Those of them that the next process may know.
  private(set) var remembered: [TypeName: [String: ObjectFacts]] = [:]
  /// Grows when `remembered` changes.
  private(set) var edition: UInt64 = 0

  /// Most last forms. Reason: some 200 bytes each; when full all are forgotten.
  private static let lastFormsMost = 65_536

  func causes(_ key: Key) -> RemovalCauses { causes[key] ?? RemovalCauses() }

  subscript(key: Key) -> [TypeName: Collection]? { cuts[key] }

  mutating func set(_ key: Key, _ cut: [TypeName: Collection]) { cuts[key] = cut }

  /// The view of another gate that keeps the same.
  mutating func copy(_ from: Key, to key: Key) {
    cuts[key] = cuts[from]
    causes[key] = causes[from]
  }

  /// Notes what those who had `old` lose by coming here.
  mutating func noteLosses(_ key: Key, from old: [TypeName: Collection]) {
    let cut = cuts[key] ?? [:]
    for (type, before) in old {
      // Whose right to it ended loses it by that, whatever an operator said.
      let lost = Collection.difference(from: before, to: cut[type] ?? .empty).removed
        .filter { causes[key]?[type, $0] != .policy }
      if !lost.isEmpty { causes[key, default: RemovalCauses()].record(.released, type: type, names: lost) }
    }
  }

  /// The rules changed: every view is cut anew when it is asked for.
  mutating func forgetCuts() {
    cuts = [:]
    causes = [:]
  }

  mutating func noteGone(_ last: Resource, outlivesUs: Bool) {
    if lastFormsCount >= KeptViews.lastFormsMost {
      (lastForms, remembered) = ([:], [:])
      lastFormsCount = 0
    }
    let form = ObjectFacts(last)
    if lastForms[last.type, default: [:]].updateValue(form, forKey: last.wireName) == nil {
      lastFormsCount += 1
    }
    edition &+= 1
    remembered[last.type, default: [:]][last.wireName] = outlivesUs ? form : nil
  }

  /// Goes on with what an earlier process remembered.
  mutating func restore(_ forms: [TypeName: [String: ObjectFacts]]) {
    (lastForms, remembered) = (forms, forms)
    lastFormsCount = forms.values.reduce(0) { $0 + $1.count }
  }

  /// Forgets everything: there are no gates.
  mutating func clear() {
    let next = lastForms.isEmpty ? edition : edition &+ 1
    self = KeptViews()
    edition = next
  }

  /// Nothing of what a source may no longer let us have outlives us.
  mutating func forgetForms(of revoked: [Merge.Revocation], _ bases: [UInt64: Snapshot]) {
    for revocation in revoked {
      for (name, form) in remembered[revocation.type] ?? [:] where form.source == revocation.source {
        guard
          revocation.names.contains(name)
            || revocation.namespaces.contains(WireName.namespace(of: name)),
          !bases.has(name, revocation.type)
        else { continue }
        remembered[revocation.type]?[name] = nil
        edition &+= 1
      }
    }
  }

  private mutating func noteReturned(_ name: String, _ type: TypeName) {
    guard lastForms[type]?.removeValue(forKey: name) != nil else { return }
    lastFormsCount -= 1
    remembered[type]?[name] = nil
    edition &+= 1
  }

  mutating func keepOnly(_ keys: Set<Key>) {
    cuts = cuts.filter { keys.contains($0.key) }
    causes = causes.filter { keys.contains($0.key) }
  }

  /// Returns the classes that had such a view.
  mutating func erase(_ names: [TypeName: Set<String>], gate: UInt64) -> [Int] {
    let keys = cuts.keys.filter { $0.gate == gate }
    for key in keys {
      cuts[key] = cuts[key]?.without(names)
      for (type, gone) in names {
        causes[key, default: RemovalCauses()].record(.policy, type: type, names: Array(gone))
      }
    }
    return keys.map(\.classIndex)
  }

  /// An object that a class may not see as it is now is not shown to it as it was, either.
  mutating func apply(
    _ change: Merge.TypeChange, _ bases: [UInt64: Snapshot], _ rules: PolicyRules, _ forms: RedactedForms
  ) {
    for resource in change.upserts { noteReturned(resource.wireName, change.type) }
    for (key, cut) in cuts {
      guard let base = bases[key.gate]?.collections[change.type] else { continue }
      let seen = cut[change.type] ?? .empty
      var (entering, leaving) = ([Resource](), [String]())
      for newest in change.upserts {
        guard let old = base[newest.wireName] else { continue }
        let shows =
          rules.isVisible(ResourceFacts(old), class: key.classIndex)
          && rules.isVisible(ResourceFacts(newest), class: key.classIndex)
        if shows, !seen.contains(old.wireName) {
          entering.append(forms.anyForm(of: old, rules.classes[key.classIndex].redaction))
        }
        if !shows, seen.contains(old.wireName) { leaving.append(old.wireName) }
      }
      if !entering.isEmpty || !leaving.isEmpty {
        cuts[key]?[change.type] = seen.applying(upserts: entering, removals: leaving)
      }
    }
  }
}
