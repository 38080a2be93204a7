// Cuts the bytes of a YAML file into its documents before anything is parsed.
//
// `---` and `...` at the start of a line end a document in every context, also inside quotes and blocks
// (YAML 1.2, section 9.1.2), so this needs no parser, and one broken document cannot hide the others.

/// The bytes of one document and where they begin.
struct TextChunk {
  var bytes: ArraySlice<UInt8>
  /// Lines of the file before this chunk.
  let linesBefore: Int
}

enum TextChunks {
  /// Documents in order, without those that hold nothing but blank lines, comments and directives.
  static func split(_ text: [UInt8]) -> [TextChunk] {
    var chunks: [TextChunk] = []
    var lines = Lines(text[(text.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0)...])
    var start = lines.rest.startIndex
    var startLine = 0
    var hasContent = false

    func close(at end: Int) {
      guard hasContent else { return }
      chunks.append(TextChunk(bytes: text[start..<end], linesBefore: startLine))
    }
    while let line = lines.next() {
      if isMarker(line, "-") {
        if hasContent {
          close(at: line.startIndex)
          (start, startLine) = (line.startIndex, lines.count - 1)
        }
        hasContent = holdsContent(line.dropFirst(3))
      } else if isMarker(line, ".") {
        close(at: lines.rest.startIndex)
        (start, startLine, hasContent) = (lines.rest.startIndex, lines.count, false)
      } else if !hasContent {
        hasContent = holdsContent(line) && line.first != UInt8(ascii: "%")
      }
    }
    close(at: text.endIndex)
    return chunks
  }

  /// Three times `character`, then white space or the end of the line.
  private static func isMarker(_ line: ArraySlice<UInt8>, _ character: Unicode.Scalar) -> Bool {
    line.count >= 3 && line.prefix(3).allSatisfy { $0 == UInt8(ascii: character) }
      && (line.count == 3 || isSpace(line[line.startIndex + 3]))
  }

  /// Whether there is anything but white space before a comment.
  private static func holdsContent(_ line: ArraySlice<UInt8>) -> Bool {
    guard let first = line.first(where: { !isSpace($0) }) else { return false }
    return first != UInt8(ascii: "#")
  }

  private static func isSpace(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
  }
}

/// Lines without their ends, which are LF, CR LF or CR.
private struct Lines {
  private(set) var rest: ArraySlice<UInt8>
  /// Lines given out so far.
  private(set) var count = 0

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  mutating func next() -> ArraySlice<UInt8>? {
    guard !rest.isEmpty else { return nil }
    count += 1
    guard let end = rest.firstIndex(where: { $0 == 0x0A || $0 == 0x0D }) else {
      defer { rest = rest[rest.endIndex...] }
      return rest
    }
    let line = rest[rest.startIndex..<end]
    let isPair = rest[end] == 0x0D && end + 1 < rest.endIndex && rest[end + 1] == 0x0A
    rest = rest[(end + (isPair ? 2 : 1))...]
    return line
  }
}
