// Reading one HTTP/1.1 response, as far as a plain GET needs it: bytes in, a whole response out. No socket, no
// clock. Source: RFC 9112, sections 4 to 7. Whatever a server sends, nothing here traps or grows without limit.

/// A response whose body has come completely.
public struct HTTPResponse: Sendable, Equatable {
  public let status: Int
  /// Names in lower case, in the order of the response.
  public let fields: [(name: String, value: String)]
  public let body: [UInt8]

  /// The first field of this name, in lower case.
  public func field(_ name: String) -> String? { fields.first { $0.name == name }?.value }

  public static func == (left: HTTPResponse, right: HTTPResponse) -> Bool {
    left.status == right.status && left.body == right.body
      && left.fields.elementsEqual(right.fields) { $0 == $1 }
  }
}

/// What is wrong with a response; a clause for people.
struct HTTPFault: Error, Equatable {
  let reason: String
}

///     awaitingHead ──head──► body(of length | chunked | until the end) ──► done
struct HTTPResponseReader {
  private enum Body: Equatable {
    case length(Int)
    /// Between chunks, or within one that lacks this many bytes, its line end included.
    case chunk(missing: Int?)
    /// After the last chunk: fields that nobody reads, up to an empty line.
    case trailer
    case untilEnd
  }

  private enum State {
    case awaitingHead
    case body(Body)
    case done
  }

  /// Bytes of status line and fields together. Reason: servers send under 2 KiB.
  private static let headBytesMax = 16 * 1024
  /// Bytes of one line of chunked coding, extensions included.
  private static let chunkLineMax = 256

  private let bodyBytesMax: Int
  private var state = State.awaitingHead
  private var unread: [UInt8] = []
  private var status = 0
  private var fields: [(name: String, value: String)] = []
  private var body: [UInt8] = []

  init(bodyBytesMax: Int) { self.bodyBytesMax = bodyBytesMax }

  /// The response once it is whole.
  var response: HTTPResponse? {
    guard case .done = state else { return nil }
    return HTTPResponse(status: status, fields: fields, body: body)
  }

  mutating func receive(_ bytes: UnsafeRawBufferPointer) throws(HTTPFault) {
    if case .done = state { return }
    unsafe unread.append(contentsOf: bytes)
    while try advance() {}
    guard unread.count <= max(HTTPResponseReader.headBytesMax, bodyBytesMax) else {
      throw HTTPFault(reason: "the response is larger than \(bodyBytesMax) bytes")
    }
  }

  /// The server ended the connection in good order.
  mutating func receiveEnd() throws(HTTPFault) {
    switch state {
    case .done: break
    case .body(.untilEnd): state = .done
    case .awaitingHead, .body: throw HTTPFault(reason: "the response ended too early")
    }
  }

  /// One step; false when more bytes are needed.
  private mutating func advance() throws(HTTPFault) -> Bool {
    switch state {
    case .awaitingHead: return try readHead()
    case .body(let kind): return try readBody(kind)
    case .done: return false
    }
  }

  // MARK: head

  private mutating func readHead() throws(HTTPFault) -> Bool {
    guard let end = HTTPResponseReader.endOfHead(unread) else {
      guard unread.count <= HTTPResponseReader.headBytesMax else {
        throw HTTPFault(reason: "the head of the response is too large")
      }
      return false
    }
    let lines = String(decoding: unread[..<end], as: UTF8.self).split(
      separator: "\r\n", omittingEmptySubsequences: true)
    unread.removeFirst(end)
    guard let first = lines.first else { throw HTTPFault(reason: "there is no status line") }
    status = try HTTPResponseReader.status(of: first)
    fields = []
    for line in lines.dropFirst() { fields.append(try HTTPResponseReader.field(of: line)) }
    // An interim response comes before the one that counts.
    if (100..<200).contains(status) { return true }
    state = .body(try bodyKind())
    return true
  }

  /// Where the body begins.
  private static func endOfHead(_ bytes: [UInt8]) -> Int? {
    let mark = Array("\r\n\r\n".utf8)
    guard bytes.count >= mark.count else { return nil }
    for start in 0...(bytes.count - mark.count) where bytes[start] == mark[0] {
      if bytes[start..<start + mark.count].elementsEqual(mark) { return start + mark.count }
    }
    return nil
  }

  private static func status(of line: Substring) throws(HTTPFault) -> Int {
    let parts = line.split(separator: " ", maxSplits: 2)
    guard parts.count >= 2, parts[0].hasPrefix("HTTP/1."), parts[1].utf8.count == 3,
      let status = Int(parts[1]), (100..<600).contains(status)
    else { throw HTTPFault(reason: "it does not answer as HTTP/1.1") }
    return status
  }

  private static func field(of line: Substring) throws(HTTPFault) -> (name: String, value: String) {
    guard let colon = line.firstIndex(of: ":"), colon > line.startIndex,
      !line[..<colon].contains(where: { $0 == " " || $0 == "\t" })
    else { throw HTTPFault(reason: "a header field of the response is malformed") }
    let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
    return (line[..<colon].lowercased(), String(value))
  }

  private func bodyKind() throws(HTTPFault) -> Body {
    let codings = fields.filter { $0.name == "transfer-encoding" }.map { $0.value.lowercased() }
    if !codings.isEmpty {
      guard codings == ["chunked"] else { throw HTTPFault(reason: "its transfer coding is not known") }
      return .chunk(missing: nil)
    }
    if status == 204 || status == 304 { return .length(0) }
    let lengths = Set(fields.filter { $0.name == "content-length" }.map(\.value))
    guard let text = lengths.first else { return .untilEnd }
    guard lengths.count == 1, text.utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(text) else {
      throw HTTPFault(reason: "its content-length is malformed")
    }
    guard length <= bodyBytesMax else {
      throw HTTPFault(reason: "the response is larger than \(bodyBytesMax) bytes")
    }
    return .length(length)
  }

  // MARK: body

  private mutating func readBody(_ kind: Body) throws(HTTPFault) -> Bool {
    switch kind {
    case .length(let length):
      try take(min(length - body.count, unread.count))
      guard body.count == length else { return false }
      state = .done
      return true
    case .untilEnd:
      try take(unread.count)
      return false
    case .chunk(let missing?): return try readChunk(missing)
    case .chunk(nil): return try readChunkLine()
    case .trailer:
      guard let line = try takeLine() else { return false }
      if line.isEmpty { state = .done }
      return true
    }
  }

  /// `missing`: bytes of the chunk, then its line end.
  private mutating func readChunk(_ missing: Int) throws(HTTPFault) -> Bool {
    guard missing > 0 else {
      guard let line = try takeLine() else { return false }
      guard line.isEmpty else { throw HTTPFault(reason: "a chunk of the response is malformed") }
      state = .body(.chunk(missing: nil))
      return true
    }
    let count = min(missing, unread.count)
    guard count > 0 else { return false }
    try take(count)
    state = .body(.chunk(missing: missing - count))
    return true
  }

  private mutating func readChunkLine() throws(HTTPFault) -> Bool {
    guard let line = try takeLine() else { return false }
    let digits = line.prefix { $0 != ";" && $0 != " " }
    guard (1...8).contains(digits.utf8.count), digits.utf8.allSatisfy(HTTPResponseReader.isHex),
      let size = Int(digits, radix: 16)
    else { throw HTTPFault(reason: "a chunk of the response is malformed") }
    state = .body(size == 0 ? .trailer : .chunk(missing: size))
    return true
  }

  private static func isHex(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...70, 97...102: true
    default: false
    }
  }

  private mutating func takeLine() throws(HTTPFault) -> String? {
    guard let end = unread.firstIndex(of: 0x0A) else {
      guard unread.count <= HTTPResponseReader.chunkLineMax else {
        throw HTTPFault(reason: "a chunk of the response is malformed")
      }
      return nil
    }
    guard end > 0, unread[end - 1] == 0x0D, end <= HTTPResponseReader.chunkLineMax else {
      throw HTTPFault(reason: "a chunk of the response is malformed")
    }
    let line = String(decoding: unread[..<(end - 1)], as: UTF8.self)
    unread.removeFirst(end + 1)
    return line
  }

  private mutating func take(_ count: Int) throws(HTTPFault) {
    guard body.count + count <= bodyBytesMax else {
      throw HTTPFault(reason: "the response is larger than \(bodyBytesMax) bytes")
    }
    body += unread[..<count]
    unread.removeFirst(count)
  }
}
