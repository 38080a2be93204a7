// Golden conversations: a text file holds what happens to one stream and what the server does about it.
//
//   dialect delta                                the first line; or: sotw
//   limit acknowledgement 5s                     (types, names, resend, burst likewise)
//   view 3: VirtualService a=1 b=2; hidden VirtualService c=1; pending Gateway; incomplete
//   ask VirtualService names=a,b nonce=1 nack="too new" holds=a=1 subscribe=* unsubscribe=a node=x
//   raw 0aff                                     a request as bytes
//   wait 10s
//
// Lines that begin with two blanks are the server's doing. A kind stands for its networking type URL in
// v1; whatever holds a slash is a type URL itself. Names are in the namespace prod.

import Primitives
import Snapshots

@testable import XDS

struct Conversation {
  private var dialect = ADSDialect.stateOfTheWorld
  private var limits = Limits()
  private var server: ADSServer?
  private var now = at(0)
  private(set) var transcript: [String] = []

  /// Repeats the inputs of `text` and writes down what the server does.
  static func replay(_ text: String) throws -> String {
    var conversation = Conversation()
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    where !line.hasPrefix("  ") {
      conversation.transcript.append(line)
      if line.isEmpty || line.hasPrefix("#") { continue }
      try conversation.perform(line)
    }
    return conversation.transcript.joined(separator: "\n")
  }

  private struct Unreadable: Error {
    let line: String
  }

  private mutating func perform(_ line: String) throws {
    let words = Conversation.words(line)
    switch words.first {
    case "dialect"?: dialect = words[1] == "delta" ? .delta : .stateOfTheWorld
    case "limit"?: try setLimit(words)
    case "view"?:
      try stream { server, _ in server.update(try Conversation.view(line)) }
    case "ask"?:
      let bytes = try request(words)
      try stream { server, now in try server.receive(bytes, now: now) }
    case "raw"?:
      let bytes = Hex.decode(words[1]) ?? []
      try stream { server, now in try server.receive(bytes, now: now) }
    case "wait"?:
      guard let seconds = Double(words[1].dropLast()) else { throw Unreadable(line: line) }
      now = now + .milliseconds(Int64(seconds * 1000))
      try stream { server, now in server.deadlinePassed(now: now) }
    default: throw Unreadable(line: line)
    }
  }

  private mutating func setLimit(_ words: [String]) throws {
    let number = Int(words[2].filter(\.isNumber)) ?? 0
    switch words[1] {
    case "types": limits.typesPerStream = number
    case "names": limits.namesPerSubscription = number
    case "acknowledgement": limits.acknowledgement = .seconds(number)
    case "resend": limits.resend = .seconds(number)
    case "burst": limits.resendBurst = number
    default: throw Unreadable(line: words.joined(separator: " "))
    }
  }

  /// One step of the stream, then everything that follows from it.
  private mutating func stream(_ step: (inout ADSServer, Instant) throws -> Void) throws {
    var server = self.server ?? ADSServer(dialect: dialect, limits: limits)
    do {
      try step(&server, now)
      while let event = server.nextEvent() { transcript.append("  event \(event)") }
      while let response = try server.nextResponse(now: now) {
        transcript.append(try describe(response))
      }
      if let deadline = server.nextDeadline() {
        transcript.append("  waits \((deadline - now).inSeconds)s")
      }
    } catch let error as ADSError {
      transcript.append("  ends with \(error.code): \(error.what)")
    }
    self.server = server
  }

  private func describe(_ response: ADSResponse) throws -> String {
    let read = try ReadResponse(response.bytes, dialect)
    var parts = ["  \(response.nonce) \(response.typeURL) version=\(response.version.prefix(6))"]
    parts += read.contents.map { "\($0.name)=\($0.body)" }
    if !read.response.removed.isEmpty {
      parts.append("removed " + read.response.removed.joined(separator: " "))
    }
    if let cause = read.cause { parts.append("because \(cause)") }
    if read.response.nonce != response.nonce || read.response.version != response.version {
      parts.append("HEAD DISAGREES")
    }
    if read.contents.count != response.resources { parts.append("COUNT DISAGREES") }
    return parts.joined(separator: " ")
  }

  private func request(_ words: [String]) throws -> [UInt8] {
    var fields: [String: String] = [:]
    for word in words.dropFirst(2) {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      fields[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
    }
    let url = Conversation.typeURL(words[1])
    let fault = fields["nack"].map { RequestFault(code: 3, message: $0) }
    let node = fields["node"].map { Node(id: $0) }
    switch dialect {
    case .stateOfTheWorld:
      var request = DiscoveryRequest()
      request.typeURL = url
      request.versionInfo = fields["version"] ?? ""
      request.nonce = fields["nonce"] ?? ""
      request.names = Conversation.names(fields["names"])
      request.fault = fault
      return request.encoded(node: node)
    case .delta:
      var request = DeltaDiscoveryRequest()
      request.typeURL = url
      request.nonce = fields["nonce"] ?? ""
      request.subscribe = Conversation.names(fields["subscribe"])
      request.unsubscribe = Conversation.names(fields["unsubscribe"])
      request.fault = fault
      for held in (fields["holds"] ?? "").split(separator: ",") {
        let parts = held.split(separator: "=", maxSplits: 1).map(String.init)
        request.initialVersions["prod/" + parts[0]] =
          resource(TypeURL(parsing: url)?.type.kind ?? words[1], parts[0], parts[1]).version.description
      }
      return request.encoded(node: node)
    }
  }

  private static func typeURL(_ word: String) -> String {
    if word == "-" { return "" }
    if word == "MeshConfig" { return "core/v1alpha1/MeshConfig" }
    return word.contains("/") ? word : "\(networking)/v1/\(word)"
  }

  private static func names(_ list: String?) -> [String] {
    (list ?? "").split(separator: ",").map { $0 == "*" ? "*" : "prod/" + $0 }
  }

  /// `view 3: VirtualService a=1; hidden Gateway g=2; released VirtualService b; pending Gateway; incomplete`
  private static func view(_ line: String) throws -> View {
    guard let colon = line.firstIndex(of: ":"), let number = UInt64(line[..<colon].dropFirst(5)) else {
      throw Unreadable(line: line)
    }
    var visible: [TypeName: [Resource]] = [:]
    var all: [TypeName: [Resource]] = [:]
    var pending: Set<TypeName> = []
    var causes = RemovalCauses()
    var isComplete = true
    for clause in line[line.index(after: colon)...].split(separator: ";") {
      var words = Conversation.words(String(clause))
      let isHidden = words.first == "hidden"
      if isHidden { words.removeFirst() }
      switch words.first {
      case nil: continue
      case "incomplete"?: isComplete = false
      case "pending"?: pending.insert(type(words[1]))
      case "released"?:
        causes.record(.released, type: type(words[1]), names: words.dropFirst(2).map { "prod/" + $0 })
      case let kind?:
        let resources = words.dropFirst().map { word in
          let parts = word.split(separator: "=").map(String.init)
          return resource(kind, parts[0], parts[1])
        }
        all[type(kind), default: []] += resources
        if !isHidden { visible[type(kind), default: []] += resources }
      }
    }
    return View(
      number: number, collections: visible.mapValues { Collection($0) },
      snapshot: Snapshot(
        collections: all.mapValues { Collection($0) }, pending: pending, isComplete: isComplete,
        position: position(sequence: number), removalCauses: causes))
  }

  /// Words at blanks; a part in quotes keeps its blanks.
  private static func words(_ line: String) -> [String] {
    var words: [String] = []
    var word = ""
    var isQuoted = false
    for character in line {
      switch character {
      case "\"": isQuoted.toggle()
      case " " where !isQuoted:
        if !word.isEmpty { words.append(word) }
        word = ""
      default: word.append(character)
      }
    }
    if !word.isEmpty { words.append(word) }
    return words
  }
}
