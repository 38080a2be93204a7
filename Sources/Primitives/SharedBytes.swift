// Immutable bytes shared by every client: encoded once, read by all loops, never copied per client.
//
//   Slab ── owns memory ──► Segment (start, count; two nested suffixes) ──► SegmentList ──► SharedBody
//
// A segment is one encoded element. Three wire formats of an element are nested suffixes of one
// another (docs/decisions/002-nested-encodings.md), so one run of bytes serves them all: the reader
// only starts at another offset. Nothing here is reference counted per segment.

/// Immutable memory, filled once by its initialiser.
@safe
public final class Slab: Sendable {
  nonisolated(unsafe) let base: UnsafePointer<UInt8>
  public let count: Int

  public init(_ bytes: [UInt8]) {
    let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
    unsafe bytes.withUnsafeBufferPointer { source in
      if let start = source.baseAddress { unsafe memory.update(from: start, count: source.count) }
    }
    unsafe base = UnsafePointer(memory)
    count = bytes.count
  }

  deinit { unsafe base.deallocate() }

  /// A segment of this slab. Trapping bounds: offsets come from our own encoder only.
  public func segment(offset: Int, count: Int, inner: Int = 0, core: Int = 0) -> Segment {
    precondition(offset >= 0 && count >= 0 && offset <= self.count - count, "segment outside its slab")
    precondition(0 <= inner && inner <= core && core <= count, "segment suffixes must nest")
    precondition(count <= Int(UInt32.max), "segment above 4 GiB")
    return unsafe Segment(
      start: base + offset, count: UInt32(count), inner: UInt32(inner), core: UInt32(core))
  }

  public func withBytes<R, Failure>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> R
  ) throws(Failure) -> R {
    unsafe try body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// The bytes of one of its segments.
  public func withBytes<R, Failure>(
    of segment: Segment, _ body: (UnsafeRawBufferPointer) throws(Failure) -> R
  ) throws(Failure) -> R {
    precondition(unsafe segment.start >= base, "a segment of another slab")
    precondition(
      unsafe (segment.start - base) + Int(segment.count) <= count, "a segment of another slab")
    return unsafe try body(UnsafeRawBufferPointer(start: segment.start, count: Int(segment.count)))
  }
}

/// Where in a segment reading starts.
public enum SegmentDepth: Sendable {
  /// All of it.
  case whole
  /// From `inner` on.
  case inner
  /// From `core` on.
  case core
}

/// One encoded element within a slab. Does not keep the slab alive: a `SegmentList` does.
@safe
public struct Segment: Sendable {
  nonisolated(unsafe) let start: UnsafePointer<UInt8>
  /// Bytes of the whole element.
  public let count: UInt32
  /// Offset at which the inner encoding begins: 0 ≤ inner ≤ core ≤ count.
  public let inner: UInt32
  /// Offset at which the innermost encoding begins.
  public let core: UInt32

  func offset(_ depth: SegmentDepth) -> Int {
    switch depth {
    case .whole: 0
    case .inner: Int(inner)
    case .core: Int(core)
    }
  }

  /// Bytes of this element when read at `depth`.
  public func byteCount(_ depth: SegmentDepth) -> Int { Int(count) - offset(depth) }
}

/// Segments with the slabs they point into. Immutable; shared by generations and clients.
public final class SegmentList: Sendable {
  public let segments: [Segment]
  private let owners: [Slab]
  private let wholeBytes: Int
  private let innerBytes: Int
  private let coreBytes: Int

  public init(_ segments: [Segment], owners: [Slab]) {
    self.segments = segments
    // Neighbours that came together share a slab.
    var distinct: [Slab] = []
    for owner in owners where distinct.last !== owner { distinct.append(owner) }
    self.owners = distinct
    var (whole, inner, core) = (0, 0, 0)
    for segment in segments {
      whole += segment.byteCount(.whole)
      inner += segment.byteCount(.inner)
      core += segment.byteCount(.core)
    }
    (wholeBytes, innerBytes, coreBytes) = (whole, inner, core)
  }

  public convenience init(bytes: [UInt8]) {
    let slab = Slab(bytes)
    self.init([slab.segment(offset: 0, count: bytes.count)], owners: [slab])
  }

  public func byteCount(_ depth: SegmentDepth) -> Int {
    switch depth {
    case .whole: wholeBytes
    case .inner: innerBytes
    case .core: coreBytes
    }
  }
}

/// The shared part of an outgoing message: lists read one after the other at one depth.
public final class SharedBody: Sendable {
  public let lists: [SegmentList]
  public let depth: SegmentDepth
  /// Read in place of each segment's first byte; nil reads it as it is. For a format that differs from
  /// another one in nothing but the tag before every element.
  public let leadingByte: UInt8?
  public let byteCount: Int

  public init(_ lists: [SegmentList], depth: SegmentDepth, leadingByte: UInt8? = nil) {
    self.lists = lists
    self.depth = depth
    self.leadingByte = leadingByte
    byteCount = lists.reduce(0) { $0 + $1.byteCount(depth) }
  }

  /// All bytes in one array: for tests, the simulator and small messages.
  public var bytes: [UInt8] {
    var result = [UInt8](repeating: 0, count: byteCount)
    var cursor = SharedBodyCursor()
    let read = unsafe result.withUnsafeMutableBytes { unsafe cursor.read(self, into: $0) }
    precondition(read == byteCount, "SharedBody shorter than its own byteCount")
    return result
  }
}

/// How far one client has read one `SharedBody`. A plain value: the only state a slow client costs.
public struct SharedBodyCursor: Sendable {
  private var list = 0
  private var segment = 0
  private var offset = 0

  public init() {}

  /// Copies the next bytes into `target` and returns how many; 0 only at the end (or for an empty target).
  public mutating func read(_ body: SharedBody, into target: UnsafeMutableRawBufferPointer) -> Int {
    guard let destination = target.baseAddress else { return 0 }
    var written = 0
    while list < body.lists.count {
      let segments = body.lists[list].segments
      while segment < segments.count {
        let current = segments[segment]
        let from = current.offset(body.depth) + offset
        let remaining = Int(current.count) - from
        let size = min(remaining, target.count - written)
        if size > 0 {
          unsafe (destination + written).copyMemory(from: current.start + from, byteCount: size)
          if offset == 0, let byte = body.leadingByte {
            unsafe (destination + written).storeBytes(of: byte, as: UInt8.self)
          }
          written += size
        }
        guard size == remaining else {
          offset += size
          return written
        }
        segment += 1
        offset = 0
      }
      list += 1
      segment = 0
    }
    return written
  }
}
