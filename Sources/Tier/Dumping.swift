// `dump`: what an identity is served now. Found on the control loop, written out on a worker: a view may have very many
// objects.

import Admin
import Downstream
import Gates
import Policy
import Primitives
import SPIFFE
import Snapshots

extension ControlLoop {
  func dump(as id: SPIFFEID, type: TypeName?, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    let generation = crossings.generation.value ?? .first
    let view: View
    do throws(IdentityRefusal) {
      let index = try generation.rules.index(of: id)
      view = generation.views[generation.place(ofCluster: index)]
    } catch {
      return reply(refusal(error, generation.rules))
    }
    // An empty list would say that it is served nothing; it is not answered yet.
    if let type, case .pending = view.state(of: type) {
      return reply(
        .error(status: 503, "Nobody is served \(type) yet: no source that may have it has answered."))
    }
    if type == nil, !view.snapshot.isComplete, view.collections.isEmpty {
      return reply(nothingServed)
    }
    let accepted = workers.store.submit { reply(.json(DumpEncoding.json(of: view, type))) }
    if !accepted { reply(GateRefusal.busy.reply) }
  }
}

extension ControlLoop {
  /// What is answered about an identity that is served nothing.
  func refusal(_ refusal: IdentityRefusal, _ rules: PolicyRules) -> AdminReply {
    guard !plan.isCompanion else {
      let domains = rules.trustDomains.map { "\($0.name)" }.joined(separator: ", ")
      return .error(
        status: 404,
        "\(refusal.what). A companion serves the same to everybody on its host: ask as an identity of \(domains)."
      )
    }
    return refusal.reply(staleRules(rules))
  }

  /// For questions about what is served while that is nothing, not even nothing at all.
  var nothingServed: AdminReply {
    .error(status: 503, "Nothing is served yet: \(readiness.reasons.joined(separator: "; ")).")
  }
}

extension IdentityRefusal {
  /// 404: most likely a slip; 403: it is known, and refused. `note`: about the places that are named.
  func reply(_ note: String?) -> AdminReply {
    let text = description + (note.map { " \($0.prefix(1).uppercased())\($0.dropFirst())." } ?? "")
    return switch self {
    case .noCluster: .error(status: 404, text)
    case .blocked: .error(status: 403, text)
    }
  }
}
