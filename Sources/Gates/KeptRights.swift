// What of the past this relay may still have: kept objects, in memory and on disk, are judged by it. A value, so that a
// store can ask it on its own thread. docs/decisions/116-what-a-grant-takes-from-the-past.md

internal import Policy
public import Snapshots

public struct KeptRights: Sendable {
  /// What sources say that they grant us.
  let received: ReceivedGrants
  /// What they have now: it is granted, whatever their words, because the two travel apart.
  let newest: [TypeName: Collection]

  /// No source says anything that would rule something out.
  public var isUnlimited: Bool { received.isUnlimited }

  /// Whether an object may still be had of its source in this form: grants may judge by labels.
  public func admits(_ resource: Resource) -> Bool {
    if let now = had(resource), now.labels.elementsEqual(resource.labels, by: ==) { return true }
    return received.mayHave(ResourceFacts(resource))
  }

  /// The source has an object of this name, whose labels are others now, and would not grant it with these.
  func isOutdated(_ resource: Resource) -> Bool { had(resource) != nil && !admits(resource) }

  /// The source neither has an object of this name nor would grant this one.
  func isLost(_ resource: Resource) -> Bool { had(resource) == nil && !admits(resource) }

  private func had(_ resource: Resource) -> Resource? {
    guard let now = newest[resource.type]?[resource.wireName], now.source == resource.source else {
      return nil
    }
    return now
  }
}

extension Publisher {
  public var rights: KeptRights { KeptRights(received: received, newest: newest.collections) }

  /// Whether an object that is kept may still be had of its source: it has it, or would grant it.
  public func isGranted(_ resource: Resource) -> Bool { rights.admits(resource) }

  /// False only for what its source says that we may not have.
  public func mayHave(_ resource: Resource) -> Bool { received.mayHave(ResourceFacts(resource)) }

  /// What is kept or remembered although its source would not grant it any more.
  public var ungranted: [Merge.Revocation] {
    let rights = rights
    var names: [String: [TypeName: Set<String>]] = [:]
    for (type, collection) in gates.gates.flatMap(\.gate.base.collections) {
      for resource in collection.resources where rights.isLost(resource) {
        names[resource.source, default: [:]][type, default: []].insert(resource.wireName)
      }
    }
    let remembered =
      ledger.entries.filter { !$0.isVoid }.map(\.object) + kept.remembered.values.flatMap(\.values)
    for object in remembered where !received.mayHave(ResourceFacts(object)) {
      names[object.source, default: [:]][object.type, default: []].insert(object.wireName)
    }
    return names.sorted { $0.key < $1.key }.flatMap { source, types in
      types.sorted { $0.key < $1.key }.map { type, names in
        Merge.Revocation(source: source, type: type, names: names, namespaces: [])
      }
    }
  }

  /// Takes out of what gates keep the forms of objects that their sources have in other forms and would not grant in
  /// these. The rest of what is not granted is `ungranted`.
  public mutating func dropOutdatedForms() {
    let rights = rights
    guard !rights.isUnlimited else { return }
    eraseKept { base in
      base.collections.mapValues { Set($0.resources.filter(rights.isOutdated).map(\.wireName)) }
        .filter { !$0.value.isEmpty }
    }
  }
}
