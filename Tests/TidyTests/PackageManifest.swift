// The targets of Package.swift, read as text: the manifest is written in one regular way
// (`room(…)`, `tests(…)`, `.target(name: …)`), and reading it needs no second SwiftPM.

/// What Package.swift says of one target.
struct ManifestTarget: Equatable {
  let name: String
  /// Rooms and library products it depends on, in the order written.
  let dependencies: [String]
  let isTest: Bool
}

enum PackageManifest {
  /// Call names that declare a target, longest first so that a prefix never hides a longer one.
  private static let declarations = [
    ".executableTarget(", ".systemLibrary(", ".testTarget(", ".target(", "program(", "tests(", "room(",
  ]

  static func targets(of manifest: String) -> [ManifestTarget] {
    let source = SwiftSource(path: "Package.swift", text: manifest)
    guard let start = range(of: "targets:", in: source.code, from: 0) else { return [] }
    var targets: [ManifestTarget] = []
    var offset = start
    while offset < source.code.count {
      guard let call = declarations.first(where: { source.code[offset...].starts(with: $0.utf8) }),
        offset == 0 || !isIdentifier(source.code[offset - 1])
      else {
        offset += 1
        continue
      }
      let open = offset + call.utf8.count
      let close = end(ofCallFrom: open, in: source.code)
      if let target = target(call: call, arguments: Array(source.text[open..<close])) {
        targets.append(target)
      }
      offset = close
    }
    return targets
  }

  private static func target(call: String, arguments: [UInt8]) -> ManifestTarget? {
    let text = String(decoding: arguments, as: UTF8.self)
    let literals = stringLiterals(of: text)
    guard let name = literals.first?.value else { return nil }
    let isTest = call.hasPrefix("tests") || call.hasPrefix(".test")
    // Everything else that is written in quotes belongs to a labelled argument: not a dependency.
    let dependencies = literals.dropFirst().filter { !ignoredLabels.contains($0.label) }.map(\.value)
    return ManifestTarget(
      name: call == "tests(" ? name + "Tests" : name, dependencies: dependencies, isTest: isTest)
  }

  private static let ignoredLabels: Set<String> = [
    "package", "path", "resources", "pkgConfig", "providers", "exclude", "plugins", "publicHeadersPath",
    "process", "copy", "embedInCode", "link", "linkedLibrary", "define", "unsafeFlags", "swiftSettings",
    "linkerSettings", "cSettings", "apt",
  ]

  /// Quoted words with the label or call name they belong to (`package: "x"`, `.copy("y")`); in a
  /// list, the label of the list.
  private static func stringLiterals(of text: String) -> [(label: String, value: String)] {
    var found: [(label: String, value: String)] = []
    // One entry a bracket: what it was opened under, and the label of the element being read.
    var brackets: [(base: String, label: String)] = [("", "")]
    var word = ""
    var characters = text.makeIterator()
    while let character = characters.next() {
      let innermost = brackets.count - 1
      switch character {
      case "\"":
        var value = ""
        while let next = characters.next(), next != "\"" { value.append(next) }
        found.append((brackets[innermost].label, value))
      case "(":
        brackets.append((word, word))
      case "[":
        brackets.append((brackets[innermost].label, brackets[innermost].label))
      case ")", "]":
        if innermost > 0 { brackets.removeLast() }
      case ":":
        brackets[innermost].label = word
      case ",":
        brackets[innermost].label = brackets[innermost].base
      default: break
      }
      if character.isLetter || character.isNumber || character == "_" {
        word.append(character)
      } else {
        word = ""
      }
    }
    return found
  }

  private static func range(of word: String, in code: [UInt8], from: Int) -> Int? {
    code.indices.dropFirst(from).first { code[$0...].starts(with: word.utf8) }
  }

  /// Offset of the parenthesis that closes the call whose arguments begin at `open`.
  private static func end(ofCallFrom open: Int, in code: [UInt8]) -> Int {
    var depth = 1
    for offset in open..<code.count {
      if code[offset] == UInt8(ascii: "(") { depth += 1 }
      if code[offset] == UInt8(ascii: ")") { depth -= 1 }
      if depth == 0 { return offset }
    }
    return code.count
  }

  private static func isIdentifier(_ byte: UInt8) -> Bool {
    let scalar = Unicode.Scalar(byte)
    return scalar == "_" || Character(scalar).isLetter || Character(scalar).isNumber
  }
}
