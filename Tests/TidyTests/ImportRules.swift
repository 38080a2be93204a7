// Import direction: Package.swift against the drawing, and every `import` line against Package.swift.

enum ImportRules {
  /// Modules that come with the toolchain: no package, no direction.
  static let systemModules: Set<String> = [
    "Swift", "Glibc", "Synchronization", "Foundation", "FoundationEssentials", "Dispatch", "Testing",
    "XCTest", "_StringProcessing", "RegexBuilder",
  ]

  /// The drawing itself: every import points to a lower floor or is a drawn sideways step.
  static func findings(inTable rooms: [Room]) -> [String] {
    let floors = Dictionary(rooms.map { ($0.name, $0.floor) }, uniquingKeysWith: { first, _ in first })
    return rooms.flatMap { room in
      room.rooms.sorted().compactMap { imported -> String? in
        guard let floor = floors[imported] else {
          return "\(room.name) imports \(imported), which is no room"
        }
        if floor < room.floor || RoomTable.sidewaysSteps.contains([room.name, imported]) { return nil }
        return "\(room.name) (floor \(room.floor)) imports \(imported) (floor \(floor))"
      }
    }
  }

  /// Package.swift against the drawing.
  static func findings(inTargets targets: [ManifestTarget], rooms: [Room]) -> [String] {
    targets.filter { !$0.isTest }.flatMap { target -> [String] in
      guard let room = rooms.first(where: { $0.name == target.name }) else {
        return ["Package.swift: target \(target.name) is not in the table of rooms"]
      }
      let allowed = room.rooms.union(room.libraries)
      return target.dependencies.filter { !allowed.contains($0) }.map {
        "Package.swift: \(target.name) must not import \($0)"
      }
    }
  }

  /// The `import` lines of one room's file against Package.swift.
  static func findings(in source: SwiftSource, targets: [ManifestTarget]) -> [Finding] {
    guard let room = source.room, let target = targets.first(where: { $0.name == room }) else { return [] }
    return source.imports.filter {
      !systemModules.contains($0.module) && !target.dependencies.contains($0.module)
    }.map {
      Finding(
        path: source.path, line: $0.line,
        message: "imports \($0.module), which Package.swift does not list for \(room)")
    }
  }

  /// Dependencies that no file of the room imports: an edge that is not there should not be drawn.
  static func unusedDependencies(of target: ManifestTarget, sources: [SwiftSource]) -> [String] {
    let imported = Set(sources.filter { $0.room == target.name }.flatMap { $0.imports.map(\.module) })
    guard !imported.isEmpty else { return [] }
    return target.dependencies.filter { !imported.contains($0) && !RoomTable.understood.contains($0) }.map {
      "Package.swift: \(target.name) lists \($0) and imports it nowhere"
    }
  }
}
