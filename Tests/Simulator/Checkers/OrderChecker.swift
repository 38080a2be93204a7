// Nonces and sequences never go back: within a stream, and over streams with one process. The path of every answer
// leads from the origin over every tier to the edge. Dates are the origin's clock, which somebody may set back.

import Primitives
import Snapshots

struct OrderChecker: Checker {
  let tiers: [String]

  init(tiers: [String]) { self.tiers = tiers }

  private struct Place: Hashable {
    let client: String
    let stream: Int
  }

  private struct Process: Hashable {
    let client: String
    let instance: String
  }

  private var nonces: [Place: UInt64] = [:]
  private var positions: [Process: Position] = [:]

  mutating func hear(_ hearing: Hearing) -> [String] {
    let answer = hearing.answer
    var findings: [String] = []
    let place = Place(client: hearing.client, stream: hearing.stream)
    let nonce = UInt64(answer.nonce)
    if let before = nonces[place], nonce ?? 0 <= before {
      findings.append("\(hearing.client) got nonce \(answer.nonce) after \(before)")
    }
    nonces[place] = nonce
    guard hearing.dialect.hasControlPlane else { return findings }
    guard let position = answer.controlPlane?.position else {
      return findings + ["\(hearing.client) got an answer that does not say where it stands"]
    }
    let passed = position.path.map { String($0.node.prefix { $0 != "-" }) }
    if passed != tiers || position.path.last?.node != hearing.edge {
      findings.append("\(hearing.client) got an answer by way of \(position.path.map(\.node))")
    }
    let process = Process(client: hearing.client, instance: position.path.last?.instance ?? "")
    if let before = positions[process], position.sequence < before.sequence {
      findings.append(
        "\(hearing.client) got sequence \(position.sequence) from \(process.instance) after \(before.sequence)"
      )
    }
    positions[process] = position
    return findings
  }
}
