// `snapshot export` and `snapshot import`: between a file here and a relay, a piece at a time. What is written is
// read back by the rules of the format before it gets its name.

public import Admin
import FoundationEssentials
import Primitives
import Snapshots
import Store

public struct SnapshotExportCommand: Sendable {
  /// Where the snapshot is.
  public enum Origin: Sendable {
    /// In a running relay: what this identity is served, or everything.
    case relay(AdminAddress, identity: String?)
    /// In the `state` folder of a stopped one.
    case store(folder: String)
  }

  private let origin: Origin
  private let path: String

  public init(from origin: Origin, to path: String) {
    self.origin = origin
    self.path = path
  }

  /// 0: the file is there, whole; 1: refused, or it cannot be written; 69: the relay cannot be reached.
  public func run() -> Int32 {
    do {
      switch origin {
      case .relay(let address, let identity):
        let client = AdminClient(address)
        let answer = try client.body(of: .transfer(.beginExport(identity: identity)))
        guard let begun = try? JSONDecoder().decode(ExportTicket.self, from: Data(answer)) else {
          return unreadable()
        }
        tell(begun.version, begun.resources, try receive(begun.ticket, client))
      case .store(let folder):
        guard let restored = try SnapshotStore.examine(folder: folder) else {
          printError("meshrelay: Nothing was ever saved in \(folder)\n")
          return 1
        }
        tell(
          restored.version.description, restored.collections.values.reduce(0) { $0 + $1.count },
          try write(restored))
      }
      return 0
    } catch {
      return failed(error)
    }
  }

  private func tell(_ version: String, _ resources: Int, _ bytes: UInt64) {
    printText(
      "Exported version \(ForeignText.line(String(version.prefix(12)))), \(resources) resources, \(bytes) bytes, "
        + "to \(path)\n")
  }

  private func write(_ restored: Restored) throws -> UInt64 {
    let header = ArchiveHeader(
      node: restored.position.path.last?.node ?? "", program: ProgramVersion.text, exportedAt: wallClock(),
      identity: nil, version: restored.version, position: restored.position, types: 0, resources: 0)
    var writer = ArchiveWriter(header, restored.collections, positions: restored.positions)
    var file = try NewSnapshotFile(path)
    var count: UInt64 = 0
    while true {
      let bytes = writer.next(SnapshotImportCommand.pieceBytes)
      guard !bytes.isEmpty else { break }
      try file.write(bytes)
      count += UInt64(bytes.count)
    }
    try file.finish()
    return count
  }

  private func receive(_ ticket: UInt64, _ client: AdminClient) throws -> UInt64 {
    var file = try NewSnapshotFile(path)
    var reader = ArchiveReader(resourceBytesMost: AdminClient.answerBytesMax)
    var offset: UInt64 = 0
    while true {
      let bytes = try client.body(of: .transfer(.readExport(ticket: ticket, from: offset)))
      guard !bytes.isEmpty else { break }
      _ = try reader.receive(bytes)
      try file.write(bytes)
      offset += UInt64(bytes.count)
    }
    try reader.finish()
    try file.finish()
    return offset
  }
}

public struct SnapshotImportCommand: Sendable {
  private let address: AdminAddress
  private let path: String
  private let terms: ImportTerms
  private let json: Bool

  /// Bytes of one piece. Reason: half of what the admin interface takes in one request.
  fileprivate static let pieceBytes = 512 * 1024

  public init(_ address: AdminAddress, path: String, terms: ImportTerms, json: Bool) {
    self.address = address
    self.path = path
    self.terms = terms
    self.json = json
  }

  /// 0: it is in force, or the dry run would change nothing; 1: it is refused, the brake holds something, or the
  /// dry run would change something; 69: the relay cannot be reached.
  public func run() -> Int32 {
    let client = AdminClient(address)
    do {
      let file = try OpenSnapshotFile(path)
      let answer = try client.body(of: .transfer(.beginImport(terms)))
      guard let begun = try? JSONDecoder().decode(ImportTicket.self, from: Data(answer)) else {
        return unreadable()
      }
      let interruption = Interruption()
      var offset: UInt64 = 0
      while true {
        if interruption.isPending { return abandon(begun.ticket, client, interruption) }
        let bytes = try file.read(SnapshotImportCommand.pieceBytes)
        guard !bytes.isEmpty else { break }
        _ = try client.body(of: .transfer(.writeImport(ticket: begun.ticket, from: offset, bytes: bytes)))
        offset += UInt64(bytes.count)
      }
      guard let outcome = try outcome(begun.ticket, offset, client, interruption) else {
        printError(
          "meshrelay: interrupted; the relay has the whole file and takes it over: `meshrelay status` tells\n"
        )
        return interruption.end()
      }
      return tell(outcome)
    } catch {
      return failed(error)
    }
  }

  /// The relay need not wait for the rest, nor the next import for the relay.
  private func abandon(_ ticket: UInt64, _ client: AdminClient, _ interruption: borrowing Interruption)
    -> Int32
  {
    let answer = try? client.ask(.transfer(.abandonImport(ticket: ticket)))
    printError(
      answer?.status == 200
        ? "meshrelay: interrupted; nothing was taken over\n"
        : "meshrelay: interrupted; the relay gives the import up by itself\n")
    return interruption.end()
  }

  /// Waits until the relay has it, which may take longer than one answer; nil: interrupted.
  private func outcome(
    _ ticket: UInt64, _ bytes: UInt64, _ client: AdminClient, _ interruption: borrowing Interruption
  ) throws -> [UInt8]? {
    while true {
      let answer = try client.ask(.transfer(.endImport(ticket: ticket, bytes: bytes)))
      guard answer.status == 202 else { return try AdminClient.body(of: answer) }
      if interruption.isPending { return nil }
    }
  }

  private func tell(_ body: [UInt8]) -> Int32 {
    guard let outcome = try? JSONDecoder().decode(ImportOutcome.self, from: Data(body)) else {
      return unreadable()
    }
    if json {
      printText(String(decoding: body, as: UTF8.self) + "\n")
    } else {
      printText(ForeignText.line(outcome.message) + "\n")
      if outcome.isDryRun {
        for (sign, list) in [("+", outcome.added), ("~", outcome.changed), ("-", outcome.removed)] {
          printText(list.names.map { "\(sign) \(ForeignText.line($0))\n" }.joined())
          if list.count > list.names.count {
            printText("\(sign) … and \(list.count - list.names.count) more\n")
          }
        }
      }
    }
    for name in outcome.setAside.names.prefix(20) {
      printError("meshrelay: set aside: \(ForeignText.line(name))\n")
    }
    if outcome.setAside.count > 20 {
      printError("meshrelay: \(outcome.setAside.count) are set aside in all\n")
    }
    if let unsaved = outcome.unsaved {
      printError("meshrelay: not saved, a restart forgets it: \(ForeignText.line(unsaved))\n")
    }
    if outcome.isDryRun { return outcome.changesNothing ? 0 : 1 }
    return outcome.held.isEmpty ? 0 : 1
  }
}

/// Says why a command ends, and with which code.
private func failed(_ error: any Error) -> Int32 {
  printError("meshrelay: \(error)\n")
  return (error as? AdminClientError)?.exitCode ?? 1
}

private func unreadable() -> Int32 {
  printError("meshrelay: the relay's answer cannot be read: is it of another version?\n")
  return 1
}
