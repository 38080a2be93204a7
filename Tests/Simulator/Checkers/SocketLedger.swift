// Every accept has one close: of each process, and of each client that a journal line announced.

import Ring
import Tier

struct SocketLedger {
  /// By process: addresses of clients that connected and did not disconnect yet.
  private var connected: [String: Set<String>] = [:]

  mutating func hear(_ event: TierEvent, of instance: String) -> [String] {
    guard let address = event.fields.first(where: { $0.name == "address" })?.value else { return [] }
    switch event.message {
    case "client connected":
      return connected[instance, default: []].insert(address).inserted
        ? [] : ["\(instance) accepted \(address) twice"]
    case "client disconnected":
      return connected[instance, default: []].remove(address) != nil
        ? [] : ["\(instance) closed \(address), which it had closed or never accepted"]
    default: return []
    }
  }

  /// What a process that has drained still holds.
  func findings(_ life: SimulatedRelay.Life) -> [String] {
    var findings = connected[life.instance, default: []].sorted()
      .map { "\(life.instance) drained and never closed \($0)" }
    for (index, counters) in life.counters.enumerated() where counters.opened != counters.closed {
      findings.append(
        "loop \(index) of \(life.instance) opened \(counters.opened) sockets and closed \(counters.closed)")
    }
    return findings
  }
}
