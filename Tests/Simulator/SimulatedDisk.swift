// The disk under a simulated relay's state folder: real SQLite in a temporary folder, which can stop to take or give
// anything for a while, and can be damaged while its relay is down.

import Foundation
import Primitives
import Synchronization

final class SimulatedDisk: Worker {
  private let broken = Atomic(false)

  var isBroken: Bool {
    get { broken.load(ordering: .relaxed) }
    set { broken.store(newValue, ordering: .relaxed) }
  }

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    guard !isBroken else { return false }
    job()
    return true
  }

  /// Writes over some bytes of the store in `folder`. False when there is none.
  func damage(_ folder: String, _ generator: inout SeededGenerator) -> Bool {
    let path = folder + "/snapshot.db"
    guard let file = FileHandle(forUpdatingAtPath: path), let size = try? file.seekToEnd(), size > 4096 else {
      return false
    }
    defer { try? file.close() }
    for _ in 0..<8 {
      let place = UInt64.random(in: 0..<size - 64, using: &generator)
      let noise = (0..<64).map { _ in UInt8.random(in: 0...255, using: &generator) }
      guard (try? file.seek(toOffset: place)) != nil, (try? file.write(contentsOf: Data(noise))) != nil else {
        return false
      }
    }
    return true
  }
}
