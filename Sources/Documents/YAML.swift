// The way into this room: bytes of a YAML or JSON file in, positioned trees and problems out. JSON is YAML.
//
// Every bound is checked here or in DocumentComposer: total size, size of one document, depth, alias
// expansion. No input traps; what cannot be read becomes a problem at its place.

/// Bounds of what is read from one file.
public struct DocumentLimits: Sendable, Equatable {
  /// Bytes of one file. Reason: a folder dumped into one file has thousands of objects of some KiB.
  public var fileBytes = 64 * 1024 * 1024
  /// Bytes of one document. Reason: the largest object etcd takes is 1.5 MiB, and JSON of it is indented.
  public var documentBytes = 8 * 1024 * 1024
  /// Levels of nesting. Reason: readers recurse; no schema here is deeper than about 20.
  public var depth = 64
  /// The tree with aliases replaced may stand for at most this many times the bytes of the text.
  public var expansion = 10

  public init() {}
}

public enum YAML {
  /// All documents of a stream. A document with a problem is left out and does not hide the others;
  /// an empty document is no document.
  public static func parse(
    yaml text: [UInt8], file: String, limits: DocumentLimits = DocumentLimits()
  ) -> (documents: [Node], problems: [Problem]) {
    guard text.count <= limits.fileBytes else { return ([], [tooLarge(text, file, limits)]) }
    var documents: [Node] = []
    var problems: [Problem] = []
    for chunk in TextChunks.split(text) {
      var composer = DocumentComposer(file: file, linesBefore: chunk.linesBefore, limits: limits)
      let roots = composer.compose(chunk.bytes)
      problems += composer.problems
      if composer.problems.isEmpty { documents += roots }
    }
    return (documents, problems)
  }

  public static func parse(
    yaml text: String, file: String, limits: DocumentLimits = DocumentLimits()
  ) -> (documents: [Node], problems: [Problem]) {
    parse(yaml: Array(text.utf8), file: file, limits: limits)
  }

  /// The one document of a file that must have exactly one. The tree comes back even with duplicate
  /// keys (the first counts), so that a reader can report everything else that is wrong as well.
  public static func parseSingle(
    yaml text: [UInt8], file: String, limits: DocumentLimits = DocumentLimits()
  ) -> (root: Node?, problems: [Problem]) {
    guard text.count <= limits.fileBytes else { return (nil, [tooLarge(text, file, limits)]) }
    var roots: [Node] = []
    var problems: [Problem] = []
    for chunk in TextChunks.split(text) {
      var composer = DocumentComposer(file: file, linesBefore: chunk.linesBefore, limits: limits)
      roots += composer.compose(chunk.bytes)
      problems += composer.problems
    }
    if roots.isEmpty, problems.isEmpty {
      problems.append(Problem(.start(of: file), "the file is empty"))
    }
    for extra in roots.dropFirst() {
      problems.append(
        Problem(extra.position, "a second document begins here", howToFix: "remove the line --- above it"))
    }
    return (roots.first, problems)
  }

  private static func tooLarge(_ text: [UInt8], _ file: String, _ limits: DocumentLimits) -> Problem {
    Problem(
      .start(of: file), "the file has \(text.count) bytes, more than \(limits.fileBytes)",
      howToFix: "split it into several files")
  }
}
