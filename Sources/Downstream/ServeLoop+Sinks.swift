// The sinks this serve loop dials: which they are, and when one of them becomes a client.

import GRPC
import Gates
import Primitives
import Ring
import SPIFFE
import Transport
import Trust

extension ServeLoop {
  /// What became of a peer that wanted in.
  enum Entrance {
    case entered(Client)
    case refused(String)
  }

  /// There is an identity to dial with, and rules to judge who answers.
  var mayDialSinks: Bool { !draining && trust.credentials != nil && generation != nil }

  /// Takes over the newest list. `somethingChanged`: whoever waits may try again.
  func adoptSinks(somethingChanged: Bool) {
    guard !draining else { return }
    let plans = crossings.sinks.value.filter { $0.loop == index }.map(\.plan)
    let isNewList = plans != sinks.map(\.plan)
    if isNewList {
      let before = sinks
      sinks = plans.map { plan in
        before.first { $0.plan == plan } ?? DialledSink(plan, serving: self, seed: generator.next())
      }
      for sink in before where !plans.contains(sink.plan) { sink.stop() }
    }
    if isNewList || somethingChanged { for sink in sinks { sink.lookAgain() } }
  }

  /// A sink that has proved who it is.
  func enter(_ connection: Connection, _ peer: VerifiedPeer, sink: DialledSink) -> Entrance {
    switch decision(for: peer.id) {
    case .granted(let grant):
      guard let client = enter(connection, .verified(peer), grant, sink: sink) else {
        return .refused("\(peer.id) is not served: too many clients")
      }
      return .entered(client)
    case .refused(let reason):
      refused(reason.metric)
      note(.refused(peer.id, address: connection.peer.description, reason: reason.explanation))
      return .refused("\(peer.id) is not served: \(reason.explanation)")
    }
  }
}
