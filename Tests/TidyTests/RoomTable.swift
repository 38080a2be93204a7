// The rooms of the program and who may import whom: the drawing of docs/ARCHITECTURE.md as data.
// The other files of this folder compare Package.swift and every `import` line with it. An import
// that is not listed here is a change of architecture and wants a reason, not a new line.

/// One room as the architecture draws it.
struct Room {
  let name: String
  /// 0 (ground) … 8 (program). Imports point to a lower floor, sideways steps excepted.
  let floor: Int
  /// Rooms it may import, `Primitives` and `Metrics` understood from floor 1 upwards.
  let rooms: Set<String>
  /// Modules of other packages it may import.
  let libraries: Set<String>
  /// On the way of every byte: no full Foundation here.
  let isDataPath: Bool
  /// A protocol core or a value room: no clock, thread, task or randomness of its own.
  let isPure: Bool
}

enum RoomTable {
  /// The drawn steps inside one floor: importer → imported.
  static let sidewaysSteps: Set<[String]> = [
    ["Metrics", "Primitives"], ["GRPC", "HTTP2"], ["Trust", "SPIFFE"], ["Gates", "Policy"],
  ]

  /// What every room above the ground may import without saying so in the drawing.
  static let understood: Set<String> = ["Primitives", "Metrics"]

  /// Rooms that may write to standard output or standard error.
  static let printing: Set<String> = ["Relay", "Console", "meshrelay"]

  /// From floor 5 upwards a room also names the lower rooms whose values it only passes on: the compiler
  /// wants every module imported whose members are used.
  static let rooms: [Room] = [
    // 0 ground
    room("COpenSSL", 0, dataPath: true), room("CNghttp2", 0, dataPath: true),
    room("CSystemd", 0), room("CLinux", 0, dataPath: true), room("CLiburing", 0, dataPath: true),
    room("Primitives", 0, dataPath: true),
    room("Metrics", 0, ["Primitives"], dataPath: true),
    // 1 engines
    room("Digest", 1, ["COpenSSL"], dataPath: true, pure: true),
    room("Documents", 1, libraries: ["Yams"], pure: true),
    room("TLS", 1, ["COpenSSL"], dataPath: true, pure: true),
    room("HTTP2", 1, ["CNghttp2"], dataPath: true, pure: true),
    room("GRPC", 1, ["HTTP2"], dataPath: true, pure: true),
    // 2 facts
    room("Protos", 2, libraries: ["SwiftProtobuf"]),
    room("SPIFFE", 2, dataPath: true, pure: true),
    room("Trust", 2, ["SPIFFE", "TLS", "Digest"], dataPath: true, pure: true),
    room("Snapshots", 2, ["Digest"], dataPath: true, pure: true),
    room("Admin", 2),
    // 3 roles
    room("Manifests", 3, ["Documents", "Snapshots"], libraries: ["SwiftProtobuf"]),
    room("MCP", 3, ["Snapshots", "Protos"], libraries: ["SwiftProtobuf"], dataPath: true, pure: true),
    room("XDS", 3, ["Snapshots", "Protos"], libraries: ["SwiftProtobuf"], dataPath: true, pure: true),
    room("Policy", 3, ["Documents", "Snapshots", "SPIFFE"], dataPath: true),
    room("Gates", 3, ["Policy", "Snapshots", "SPIFFE"], dataPath: true, pure: true),
    room("Audit", 3, ["Digest", "SPIFFE"], dataPath: true, pure: true),
    room("Ring", 3, ["CLiburing", "CLinux"], dataPath: true),
    // 4 meeting
    room("Transport", 4, ["Ring", "TLS", "HTTP2", "GRPC"], dataPath: true),
    room("Configuration", 4, ["Documents", "Policy", "SPIFFE"]),
    // 5 services
    room("Upstream", 5, ["Transport", "Ring", "TLS", "GRPC", "MCP", "XDS", "Snapshots", "SPIFFE", "Trust"]),
    room(
      "Origins", 5,
      ["CLinux", "Documents", "Manifests", "Snapshots", "Ring", "Transport", "GRPC", "Protos"],
      libraries: ["SwiftProtobuf", "Subprocess"]),
    room(
      "Downstream", 5,
      [
        "Transport", "Ring", "TLS", "GRPC", "MCP", "XDS", "Protos", "Gates", "Policy", "Audit", "Snapshots",
        "SPIFFE", "Trust",
      ], libraries: ["SwiftProtobuf"], dataPath: true),
    room(
      "Identity", 5, ["Transport", "Ring", "TLS", "GRPC", "HTTP2", "Protos", "Trust", "SPIFFE", "Digest"],
      libraries: ["SwiftProtobuf"]),
    room("Store", 5, ["Gates", "Snapshots"], libraries: ["GRDB"]),
    room("Trail", 5, ["Audit", "Digest"]),
    room("AdminServer", 5, ["Admin"], libraries: ["NIOCore", "NIOPosix", "NIOHTTP1"]),
    // 6 wiring
    room(
      "Tier", 6,
      [
        "Upstream", "Origins", "Downstream", "Identity", "Store", "Configuration", "Gates", "Policy",
        "Manifests", "Documents", "Admin", "Audit", "Trail", "Transport", "Ring", "TLS", "MCP", "XDS",
        "Snapshots", "SPIFFE", "Trust",
      ]),
    room(
      "Console", 6,
      [
        "CLinux", "Admin", "Configuration", "Documents", "Policy", "Gates", "Manifests", "Audit", "Identity",
        "Origins", "Transport", "Ring", "TLS", "GRPC", "XDS", "Snapshots", "Store", "SPIFFE", "Trust",
      ], libraries: ["ArgumentParser"]),
    // 7 process
    room(
      "Relay", 7,
      [
        "Tier", "Trail", "Audit", "Downstream", "AdminServer", "Admin", "Configuration", "Documents",
        "Policy",
        "Ring", "Store",
        "TLS",
        "CSystemd", "CLinux",
      ], libraries: ["Logging"]),
    // 8 program
    room("meshrelay", 8, ["Relay", "Console", "Admin", "Ring"], libraries: ["ArgumentParser"]),
  ]

  static func room(named name: String) -> Room? { rooms.first { $0.name == name } }

  private static func room(
    _ name: String, _ floor: Int, _ rooms: Set<String> = [], libraries: Set<String> = [],
    dataPath: Bool = false, pure: Bool = false
  ) -> Room {
    return Room(
      name: name, floor: floor, rooms: floor > 0 ? rooms.union(understood) : rooms, libraries: libraries,
      isDataPath: dataPath, isPure: pure)
  }
}
