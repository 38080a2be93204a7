// Where things lie in the encoding of a resource, found without copying any of it.
//
// Only what `ResourceEncoding` writes is read here, byte for byte in its order; anything else gives nil and takes the
// careful way (`Admission.readmit`), which says what is wrong. The bytes come from a disk, so nothing in them may trap.

internal import Primitives

/// The parts of one encoded resource with an envelope. Ranges are offsets into its bytes.
struct ElementLayout {
  private(set) var inner = 0
  private(set) var core = 0
  private(set) var name: Range<Int> = 0..<0
  private(set) var version: Version
  private(set) var createTime = Timestamp(seconds: 0)
  /// All of them, each with its tag and length.
  private(set) var labels: Range<Int> = 0..<0
  private(set) var annotations: Range<Int> = 0..<0
  /// The message's name, without the prefix of an Any.
  private(set) var bodyMessage: Range<Int> = 0..<0
  private(set) var body: Range<Int> = 0..<0

  static let labelTag: UInt8 = 4 << 3 | 2
  static let annotationTag: UInt8 = 5 << 3 | 2

  private static let anyPrefix = Array(ResourceEncoding.anyPrefix.utf8)
  private static let envelopeURL = Array(ResourceEncoding.envelopeURL.utf8)

  /// Nil unless `bytes` are exactly such an encoding and their text is UTF-8.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var whole = unsafe ElementCursor(bytes, 0..<bytes.count)
    guard let element = whole.field(2), whole.isAtEnd else { return nil }
    var outer = unsafe ElementCursor(bytes, element)
    guard let name = outer.text(3), let digits = outer.field(1),
      let version = unsafe Version(digits: UnsafeRawBufferPointer(rebasing: bytes[digits]))
    else { return nil }
    self.name = name
    self.version = version
    inner = outer.position
    guard let any = outer.field(2), outer.isAtEnd else { return nil }
    var payload = unsafe ElementCursor(bytes, any)
    guard let url = payload.field(1), unsafe ByteRun(bytes, url).isEqual(to: ElementLayout.envelopeURL) else {
      return nil
    }
    core = payload.position
    guard let envelope = payload.field(2), payload.isAtEnd else { return nil }
    var parts = unsafe ElementCursor(bytes, envelope)
    guard let metadata = parts.field(1), let object = parts.field(2), parts.isAtEnd,
      unsafe readMetadata(bytes, metadata, digits), unsafe readBody(bytes, object)
    else { return nil }
  }

  private mutating func readMetadata(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ digits: Range<Int>
  ) -> Bool {
    var cursor = unsafe ElementCursor(bytes, range)
    guard let again = cursor.field(1), unsafe ByteRun(bytes, again).isEqual(to: ByteRun(bytes, name)),
      let time = cursor.field(2),
      unsafe readTime(bytes, time), let repeated = cursor.field(3),
      unsafe ByteRun(bytes, repeated).isEqual(to: ByteRun(bytes, digits))
    else { return false }
    guard let labels = cursor.pairs(ElementLayout.labelTag) else { return false }
    self.labels = labels
    guard let annotations = cursor.pairs(ElementLayout.annotationTag) else { return false }
    self.annotations = annotations
    return cursor.isAtEnd
  }

  private mutating func readTime(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
    var cursor = unsafe ElementCursor(bytes, range)
    guard let seconds = cursor.integer(1), let rest = cursor.integer(2), cursor.isAtEnd,
      let nanoseconds = Int32(exactly: Int64(bitPattern: rest))
    else { return false }
    createTime = Timestamp(seconds: Int64(bitPattern: seconds), nanoseconds: nanoseconds)
    // What stands for "no time" is for the careful way.
    return createTime.seconds != MCPMetadata.goZeroSeconds
  }

  private mutating func readBody(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
    var cursor = unsafe ElementCursor(bytes, range)
    guard let url = cursor.text(1), unsafe ByteRun(bytes, url).begins(with: ElementLayout.anyPrefix) else {
      return false
    }
    bodyMessage = url.lowerBound + ElementLayout.anyPrefix.count..<url.upperBound
    guard !bodyMessage.isEmpty, unsafe ByteRun(bytes, bodyMessage).firstIndex(of: UInt8(ascii: "/")) == nil
    else { return false }
    if cursor.isAtEnd {
      body = range.upperBound..<range.upperBound
      return true
    }
    guard let value = cursor.field(2), !value.isEmpty else { return false }
    body = value
    return cursor.isAtEnd
  }

  /// The entries of a map that follow each other from the beginning of `range` on; nil when one is none.
  static func pairs(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, tag: UInt8
  ) -> [(key: String, value: String)]? {
    var cursor = unsafe ElementCursor(bytes, range)
    var pairs: [(key: String, value: String)] = []
    while cursor.next == tag {
      guard let (key, value) = cursor.entry(tag),
        let keyText = unsafe String(validating: bytes[key], as: UTF8.self),
        let valueText = unsafe String(validating: bytes[value], as: UTF8.self)
      else { return nil }
      pairs.append((keyText, valueText))
    }
    return pairs
  }
}

/// A cursor that expects fields with numbers below 16, in order, each written the shortest way.
@safe
private struct ElementCursor {
  private let bytes: UnsafeRawBufferPointer
  /// 0 ≤ position ≤ end ≤ bytes.count.
  private(set) var position: Int
  private let end: Int

  init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a range outside its bytes")
    unsafe self.bytes = unsafe bytes
    position = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { position == end }

  /// The byte at the cursor; nil at the end.
  var next: UInt8? { unsafe position < end ? bytes[position] : nil }

  /// The content of a length-delimited field of this number; nil when it is not what comes next.
  mutating func field(_ number: UInt8) -> Range<Int>? {
    guard next == number << 3 | 2 else { return nil }
    position += 1
    guard let count = varint(), count <= UInt64(end - position) else { return nil }
    let start = position
    position += Int(count)
    return start..<position
  }

  /// The same for text that is not empty.
  mutating func text(_ number: UInt8) -> Range<Int>? {
    guard let range = field(number), !range.isEmpty, isText(range) else { return nil }
    return range
  }

  /// An integer that is left out when it is zero.
  mutating func integer(_ number: UInt8) -> UInt64? {
    guard next == number << 3 else { return 0 }
    position += 1
    guard let value = varint(), value != 0 else { return nil }
    return value
  }

  /// All entries of a map with this tag that come next, as they are.
  mutating func pairs(_ tag: UInt8) -> Range<Int>? {
    let start = position
    while next == tag {
      guard let (key, value) = entry(tag), isText(key), isText(value) else { return nil }
    }
    return start..<position
  }

  mutating func entry(_ tag: UInt8) -> (key: Range<Int>, value: Range<Int>)? {
    guard let entry = field(tag >> 3) else { return nil }
    var inside = unsafe ElementCursor(bytes, entry)
    guard let key = inside.field(1), let value = inside.field(2), inside.isAtEnd else { return nil }
    return (key, value)
  }

  /// UTF-8. Most text is ASCII, which is seen eight bytes at a time.
  private func isText(_ range: Range<Int>) -> Bool {
    var at = range.lowerBound
    while at + 8 <= range.upperBound {
      if unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self) & 0x8080_8080_8080_8080 != 0 {
        break
      }
      at += 8
    }
    while at < range.upperBound, unsafe bytes[at] < 0x80 { at += 1 }
    return unsafe at == range.upperBound
      || String(validating: bytes[range.lowerBound..<range.upperBound], as: UTF8.self) != nil
  }

  private mutating func varint() -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while position < end {
      let byte = unsafe bytes[position]
      position += 1
      if shift == 63, byte > 1 { return nil }
      value |= UInt64(byte & 0x7F) << shift
      // A last byte of zero says nothing: it was not written the shortest way.
      if byte < 0x80 { return byte == 0 && shift > 0 ? nil : value }
      shift += 7
      if shift > 63 { return nil }
    }
    return nil
  }
}
