// Two HTTP/2 sessions joined by two byte buffers: the network of this room's tests, without a network.

import HTTP2
import Primitives

/// A client and a server session and the bytes between them.
final class Wire {
  let client: HTTP2Session
  let server: HTTP2Session
  /// How many bytes one `receive` is given at most.
  var chunk: Int
  /// How many bytes one `produce` may write.
  var produceLimit = 64 * 1024
  var now = Instant(nanoseconds: 1)

  init(chunk: Int = .max, limits: Limits = Limits()) {
    self.chunk = chunk
    client = HTTP2Session(role: .client, limits: limits)
    server = HTTP2Session(role: .server, limits: limits)
  }

  /// Moves bytes both ways until neither side has anything to say; returns what each side was told.
  @discardableResult
  func run(
    consuming: Bool = true, refusing: Set<StreamID> = []
  ) throws -> (client: [Seen], server: [Seen]) {
    var seen: (client: [Seen], server: [Seen]) = ([], [])
    while true {
      let toServer = try produced(client)
      seen.server += try deliver(toServer, to: server, consuming: consuming, refusing: refusing)
      let toClient = try produced(server)
      seen.client += try deliver(toClient, to: client, consuming: consuming, refusing: refusing)
      seen.client += taken(client, consuming: consuming, refusing: refusing)
      seen.server += taken(server, consuming: consuming, refusing: refusing)
      if toServer.isEmpty, toClient.isEmpty { return seen }
    }
  }

  func produced(_ session: HTTP2Session) throws -> [UInt8] {
    let buffer = IOBuffer()
    try session.produce(into: buffer, upTo: produceLimit)
    return unsafe [UInt8](buffer.readable)
  }

  func deliver(
    _ bytes: [UInt8], to session: HTTP2Session, consuming: Bool = true, refusing: Set<StreamID> = []
  ) throws -> [Seen] {
    var seen: [Seen] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(chunk))
      rest = rest.dropFirst(part.count)
      unsafe try part.withUnsafeBytes { part in
        defer { seen += taken(session, consuming: consuming, refusing: refusing) }
        unsafe try session.receive(part, now: now)
      }
    }
    return seen
  }

  /// All waiting events; credit for DATA goes back at once, except on the `refusing` streams.
  func taken(_ session: HTTP2Session, consuming: Bool = true, refusing: Set<StreamID> = []) -> [Seen] {
    var seen: [Seen] = []
    while let event = session.nextEvent() {
      let value = Seen(event)
      if consuming, case .data(let id, let bytes, _) = value, !refusing.contains(id) {
        session.consumed(id, bytes.count)
      }
      seen.append(value)
    }
    return seen
  }
}

/// `HTTP2Event` with its bytes copied, so that it can be kept and compared.
enum Seen: Equatable {
  case headers(StreamID, HeaderList, endOfStream: Bool)
  case data(StreamID, [UInt8], endOfStream: Bool)
  case closed(StreamID, UInt32)
  case dataSent(StreamID)
  case goAway(StreamID, UInt32, String)
  case pong(UInt64)
  case settings

  init(_ event: HTTP2Event) {
    self =
      switch event {
      case .headers(let id, let fields, let end): .headers(id, fields, endOfStream: end)
      case .data(let id, let bytes, let end): unsafe .data(id, [UInt8](bytes), endOfStream: end)
      case .streamClosed(let id, let code): .closed(id, code)
      case .dataSent(let id): .dataSent(id)
      case .goAway(let last, let code, let text): .goAway(last, code, text)
      case .pong(let payload): .pong(payload)
      case .settingsReceived: .settings
      }
  }
}

extension [Seen] {
  /// All DATA bytes of one stream.
  func bytes(of id: StreamID) -> [UInt8] {
    flatMap { seen -> [UInt8] in
      if case .data(id, let bytes, _) = seen { bytes } else { [] }
    }
  }

  /// The stream had END_STREAM on headers or DATA.
  func ended(_ id: StreamID) -> Bool {
    contains { seen in
      switch seen {
      case .headers(id, _, endOfStream: true), .data(id, _, endOfStream: true): true
      default: false
      }
    }
  }

  func headers(of id: StreamID) -> [HeaderList] {
    compactMap { if case .headers(id, let fields, _) = $0 { fields } else { nil } }
  }

  func closeCode(of id: StreamID) -> UInt32? {
    compactMap { if case .closed(id, let code) = $0 { code } else { nil } }.first
  }
}

let requestFields: HeaderList = [
  HeaderField(name: ":method", value: "POST"), HeaderField(name: ":scheme", value: "https"),
  HeaderField(name: ":path", value: "/service/Method"), HeaderField(name: ":authority", value: "host"),
  HeaderField(name: "content-type", value: "application/grpc"), HeaderField(name: "te", value: "trailers"),
]
let responseFields: HeaderList = [
  HeaderField(name: ":status", value: "200"), HeaderField(name: "content-type", value: "application/grpc"),
]
let trailerFields: HeaderList = [HeaderField(name: "grpc-status", value: "0")]

/// A shared body of many small segments over several lists: `count` bytes that depend on their place.
func body(_ count: Int, segment: Int = 1000) -> SharedBody {
  let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  let slab = Slab(bytes)
  let segments = stride(from: 0, to: count, by: segment).map {
    slab.segment(offset: $0, count: min(segment, count - $0))
  }
  let half = segments.count / 2
  return SharedBody(
    [
      SegmentList(Array(segments[..<half]), owners: [slab]),
      SegmentList([], owners: []),
      SegmentList(Array(segments[half...]), owners: [slab]),
    ], depth: .whole)
}
