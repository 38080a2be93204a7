// Sources that an import stands in for: which one, how its objects are taken in, and how it goes on afterwards.

import Admin
import Manifests
import Primitives
import Snapshots

/// A source that a file is imported for.
struct ImportTarget: Sendable {
  let source: String
  /// It never says where its content stands.
  let isForeign: Bool
  let intake: Intake
}

extension SourceSet {
  /// The source that an import is for. `isDryRun`: it may be followed all the same.
  func importTarget(
    _ name: String?, _ plan: TierPlan, isDryRun: Bool
  ) throws(CarryRefusal) -> ImportTarget {
    let upstreams = plan.sources.compactMap { source in
      if case .upstream(let upstream) = source.kind { (source, upstream) } else { nil }
    }
    guard let first = upstreams.first else { throw .noUpstream }
    guard name != nil || upstreams.count == 1 else { throw .severalSources(upstreams.map(\.0.name)) }
    let wanted = name ?? first.0.name
    guard let (source, upstream) = upstreams.first(where: { $0.0.name == wanted }) else {
      throw plan.sources.contains { $0.name == wanted }
        ? .isDirectory(wanted) : .unknownSource(wanted, known: plan.sources.map(\.name))
    }
    if !isDryRun, entries.first(where: { $0.name == wanted })?.state == .synced { throw .isFollowed(wanted) }
    return ImportTarget(
      source: wanted, isForeign: upstream.isForeign,
      intake: upstream.intake(of: source, canonicalize: canonicalize))
  }

  /// Ends what a source was saying, until `resume`: nothing it says may mix with an import.
  func pause(_ name: String) {
    guard let entry = entries.first(where: { $0.name == name }) else { return }
    stop(entry)
  }

  /// Begins the life of a paused source anew, from what it holds now. `isImported`: that came from a file.
  func resume(_ name: String, _ plan: TierPlan, held: HeldPart, isImported: Bool) {
    guard let source = plan.sources.first(where: { $0.name == name }) else { return }
    change(name) { entry in
      // It may have been given a life meanwhile, by a reload or new credentials.
      stop(entry)
      let fresh = open(source, plan, held)
      entry.life = fresh.life
      entry.authority = fresh.authority
      entry.isRestored = entry.isRestored || isImported
      if isImported {
        become(&entry, .stale, "what is served was imported; the upstream has not answered yet")
      }
    }
    if let entry = entries.first(where: { $0.name == name }) { start(entry) }
  }
}
