// Connections and what is known of each, in the order of their arrival: whoever walks over them does it in the
// same order in every run, which a dictionary does not promise.

import Ring
import Transport

struct Roster<Value> {
  private var serials: [ObjectIdentifier: UInt64] = [:]
  /// Ascending by serial.
  private var entries: [(serial: UInt64, value: Value, socket: SocketID?)] = []
  private var nextSerial: UInt64 = 0

  var isEmpty: Bool { entries.isEmpty }
  var count: Int { entries.count }
  /// Oldest first.
  var values: [Value] { entries.map(\.value) }

  /// Socket of the value at `index` of `values`; nil beyond the last.
  func socket(at index: Int) -> SocketID? { index < entries.count ? entries[index].socket : nil }

  subscript(connection: Connection) -> Value? { place(of: connection).map { entries[$0].value } }

  /// `connection` is not in it.
  mutating func insert(_ value: Value, for connection: Connection) {
    serials[ObjectIdentifier(connection)] = nextSerial
    entries.append((nextSerial, value, connection.socketID))
    nextSerial += 1
  }

  @discardableResult
  mutating func remove(_ connection: Connection) -> Value? {
    guard let place = place(of: connection) else { return nil }
    serials.removeValue(forKey: ObjectIdentifier(connection))
    return entries.remove(at: place).value
  }

  private func place(of connection: Connection) -> Int? {
    guard let serial = serials[ObjectIdentifier(connection)] else { return nil }
    var (low, high) = (0, entries.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].serial < serial { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
