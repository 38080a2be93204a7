// A snapshot from a file on its way into what is served: judged by the rules for an upstream, published as a step of
// the source that it stands in for. On the publisher's worker. docs/decisions/101-carried-snapshots.md.

import Admin
import Gates
import Primitives
import Snapshots
import Synchronization

/// A file to be taken over.
struct CarryOrder: Sendable {
  let ticket: UInt64
  let source: String
  /// The source never says where its content stands: nothing can be older than it.
  let isForeign: Bool
  let terms: ImportTerms
  let carried: CarriedSnapshot
}

/// What became of it.
struct CarryReport: Sendable {
  let order: CarryOrder
  let outcome: Result<ImportOutcome, CarryRefusal>
  /// It is on its way to disk: answered when it is there. Nil: nothing new has to be written.
  let isBeingSaved: Bool?
  /// What the source has from now on, and where that stands.
  let held: HeldPart
}

/// Why a file is not taken over; nothing has changed.
enum CarryRefusal: Explained, Equatable {
  case unknownSource(String, known: [String])
  /// Nobody said which.
  case severalSources([String])
  case noUpstream
  /// Its content begins here.
  case isDirectory(String)
  /// It is being followed.
  case isFollowed(String)
  case behind(TypeName, offered: Position, held: Position)
  case otherOrigin(TypeName, offered: Position, held: Position)
  case future(Position, now: Timestamp)
  case loop(node: String)
  case archive(ArchiveError)

  var what: String {
    switch self {
    case .unknownSource(let name, _): "No source is called '\(ForeignText.line(name))'"
    case .severalSources(let names):
      "The import could stand in for several sources: \(names.joined(separator: ", "))"
    case .noUpstream: "This relay has no source of the kind `upstream`"
    case .isDirectory(let name): "The source '\(name)' is a directory on this host"
    case .isFollowed(let name): "The source '\(name)' is being followed now"
    case .behind(let type, let offered, let held):
      "The file is older than what is served: \(type) at sequence \(offered.sequence), served is "
        + "\(held.sequence) of '\(held.origin)'"
    case .otherOrigin(let type, let offered, let held):
      "The file is of the origin '\(offered.origin)', published \(offered.published.rfc3339), and what is served of "
        + "\(type) is of '\(held.origin)', published \(held.published.rfc3339)"
    case .future(let offered, let now):
      "The file's sequence \(offered.sequence) lies in the future: it is \(now.rfc3339) here"
    case .loop(let node): "The file has passed through this very process (\(node))"
    case .archive(let error): error.what
    }
  }

  var why: String {
    switch self {
    case .isFollowed: "What it says next would take the place of what is imported"
    case .noUpstream: "An import stands in for an upstream that cannot be reached"
    case .isDirectory: "Its files are the truth, and would take the place of what is imported"
    case .future: "The clock of this host, or of the origin, is wrong"
    case .archive(let error): error.why
    case .unknownSource, .severalSources, .behind, .otherOrigin, .loop: ""
    }
  }

  var howToFix: String {
    switch self {
    case .unknownSource(_, let known): "The sources are: \(known.joined(separator: ", "))"
    case .severalSources: "Name one with --source"
    case .noUpstream: "Add the source that this host would follow, reachable or not"
    case .isDirectory: "Put the manifests there, or name an upstream with --source"
    case .isFollowed: "To go back, use `meshrelay rollback` or `pin`"
    case .behind, .otherOrigin: "If it is meant all the same, give --adopt"
    case .future: "Set the clock right; if it is meant all the same, give --adopt"
    case .loop: "`meshrelay history` has it, and `meshrelay rollback` goes back to it"
    case .archive(let error): error.howToFix
    }
  }

  var blame: Blame { .operator }

  var reply: AdminReply {
    let status =
      switch self {
      case .unknownSource: 404
      case .severalSources, .archive: 400
      case .noUpstream, .isDirectory, .isFollowed, .behind, .otherOrigin, .future, .loop: 409
      }
    return .error(status: status, description)
  }
}

extension PublishingDesk {
  /// Takes over a file as a step of its source, or says what that would do.
  func carry(_ order: CarryOrder, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      let held = state.merge.held(by: order.source)
      let part = order.part(beside: held, state)
      do throws(CarryRefusal) {
        if !order.isForeign {
          try order.judge(part, held, state.standings[order.source] ?? [:], me, now)
        }
      } catch {
        report.fill(from: state.merge, state.order)
        report.carried = CarryReport(
          order: order, outcome: .failure(error), isBeingSaved: nil, held: state.part(of: order.source))
        return report
      }
      let outcome = order.outcome(part, held)
      guard !order.terms.isDryRun else {
        report.fill(from: state.merge, state.order)
        report.carried = CarryReport(
          order: order, outcome: .success(outcome), isBeingSaved: nil, held: state.part(of: order.source))
        return report
      }
      var step = Merge.Change()
      for update in order.updates(part) {
        state.note(update)
        let change = state.merge.apply(update)
        report.note(change, of: order.source)
        step.append(change)
      }
      let isBeingSaved = finish(
        &state, step, &report, because: "import", ticket: order.ticket, now: now)
      var done = outcome
      done.held = report.gates.events.compactMap { event in
        guard case .held(let cluster, _, let reason) = event else { return nil }
        return CommandOutcome.Held(cluster: cluster, reason: reason)
      }
      report.carried = CarryReport(
        order: order, outcome: .success(done), isBeingSaved: isBeingSaved, held: state.part(of: order.source))
      return report
    }
  }
}

/// What of a file concerns its source.
private struct CarriedPart {
  var contents: [(type: TypeName, position: Position, collection: Collection)] = []
  /// Objects that are left out, and why.
  var leftOut: [String] = []
}

extension CarryOrder {
  /// The file's types that the source may supply, each with what the file has of it; objects that were set aside
  /// stay as they are held.
  fileprivate func part(
    beside held: [TypeName: Collection], _ state: PublishingDesk.State
  ) -> CarriedPart {
    var part = CarriedPart()
    part.leftOut = carried.rejected.map { "\($0.resource): \($0.reason)" }
    for content in carried.contents {
      guard state.merge.supplies(content.type, source: source) else {
        if !content.collection.isEmpty {
          part.leftOut.append("\(content.type): this source may not supply it (`only`, `types`)")
        }
        continue
      }
      let before = held[content.type] ?? .empty
      let revoked = self.revoked(content.collection, before, state)
      part.leftOut += revoked.map { "\(content.type) \($0): its source has said that it is not granted" }
      let kept = content.setAside.compactMap { before[$0] }
      part.contents.append(
        (content.type, content.position, content.collection.applying(upserts: kept, removals: revoked)))
    }
    return part
  }

  /// What the source does not grant, as far as it has told. A newer file that was cut for an identity bears the policy
  /// of who exported it; what an operator takes over although it is older must not bring back what was taken away since.
  private func revoked(
    _ collection: Collection, _ held: Collection, _ state: PublishingDesk.State
  ) -> [String] {
    guard terms.adopts || carried.header.identity == nil else { return [] }
    let revoked = terms.adopts ? state.revoked.remembered : []
    return collection.resources.filter { resource in
      !held.contains(resource.wireName)
        && (!state.publisher.mayHave(resource) || revoked.contains { $0.covers(resource) })
    }.map(\.wireName)
  }

  /// The rules for an upstream, asked of every type that would change.
  fileprivate func judge(
    _ part: CarriedPart, _ held: [TypeName: Collection], _ standings: [TypeName: Position], _ me: PathElement,
    _ now: Timestamp
  ) throws(CarryRefusal) {
    for content in part.contents {
      let before = held[content.type]
      let verdict = Position.judge(
        offered: content.position, held: standings[content.type], instance: me.instance, now: now,
        bringsChange: before?.version != content.collection.version)
      let standing = standings[content.type] ?? content.position
      switch verdict {
      case .accepted: break
      case .loop: throw .loop(node: me.node)
      case .behind where !terms.adopts:
        throw .behind(content.type, offered: content.position, held: standing)
      case .otherOrigin where !terms.adopts:
        throw .otherOrigin(content.type, offered: content.position, held: standing)
      case .future where !terms.adopts: throw .future(content.position, now: now)
      case .behind, .otherOrigin, .future: break
      }
    }
  }

  fileprivate func outcome(_ part: CarriedPart, _ held: [TypeName: Collection]) -> ImportOutcome {
    let after = Dictionary(part.contents.map { ($0.type, $0.collection) }) { first, _ in first }
    let names = ViewDifference(from: held.filter { after[$0.key] != nil }, to: after)
    let header = carried.header
    return ImportOutcome(
      source: source, version: header.version.description, origin: header.position.origin,
      sequence: header.position.sequence, resources: header.resources, isDryRun: terms.isDryRun,
      added: names.added, changed: names.changed, removed: names.removed, setAside: part.leftOut)
  }

  fileprivate func updates(_ part: CarriedPart) -> [SourceUpdate] {
    let whole = isForeign ? nil : carried.header.position
    var updates = part.contents.map { content in
      SourceUpdate(
        source: source, kind: .replace(content.type, content.collection.resources), isWhole: true,
        position: whole, content: isForeign ? nil : content.position)
    }
    updates.append(SourceUpdate(source: source, kind: .complete, position: whole))
    return updates
  }
}

extension PublishingDesk.State {
  fileprivate func part(of source: String) -> HeldPart {
    HeldPart(collections: merge.held(by: source), positions: standings[source] ?? [:])
  }
}
