// Goal: no discovery message of a client or an upstream stops the process, and every answer stays an answer.
// Method: the input is a run of length-prefixed messages, given in turn to both roles in both dialects, with
// a view that changes in between.

import Primitives
import Snapshots
import XDS

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 1 else { return 0 }
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  let dialect: ADSDialect = input[0] & 1 == 0 ? .stateOfTheWorld : .delta
  let messages = split(input.dropFirst())
  if input[0] & 2 == 0 { serve(messages, dialect) } else { subscribe(messages, dialect) }
  return 0
}

/// One length byte before each message; the last one takes what is left.
private func split(_ bytes: ArraySlice<UInt8>) -> [[UInt8]] {
  var messages: [[UInt8]] = []
  var rest = bytes
  while let length = rest.popFirst() {
    messages.append(Array(rest.prefix(Int(length))))
    rest = rest.dropFirst(Int(length))
  }
  return messages
}

private func serve(_ messages: [[UInt8]], _ dialect: ADSDialect) {
  var server = ADSServer(dialect: dialect, limits: Limits())
  for (second, message) in messages.enumerated() {
    let now = Instant(nanoseconds: Int64(second) * 1_000_000_000)
    server.update(view(number: UInt64(second)))
    do throws(ADSError) {
      try server.receive(message, now: now)
      while let response = try server.nextResponse(now: now) {
        precondition(!response.nonce.isEmpty, "a response without a nonce cannot be acknowledged")
      }
      while server.nextEvent() != nil {}
      server.deadlinePassed(now: now)
    } catch {
      return
    }
  }
}

/// Nothing at first, then one object that comes and goes.
private func view(number: UInt64) -> View {
  guard number > 0 else { return View.nothing }
  let type = TypeName(group: "networking.istio.io", kind: "VirtualService")
  let collections = number & 1 == 1 ? [type: Collection([object(of: type)].compactMap(\.self))] : [:]
  let position = Position(
    origin: "fuzz", sequence: number, published: Timestamp(seconds: 1_800_000_000), path: [])
  let snapshot = Snapshot(collections: collections, pending: [], isComplete: true, position: position)
  return View(number: number, collections: collections, snapshot: snapshot)
}

private func object(of type: TypeName) -> Resource? {
  let draft = ResourceDraft(
    namespace: "a", name: "b", createTime: Timestamp(seconds: 1_700_000_000),
    bodyMessage: "istio.networking.v1alpha3.VirtualService", body: [], source: "fuzz")
  return try? Admission.admit(type: type, draft: draft, limits: Limits())
}

private func subscribe(_ messages: [[UInt8]], _ dialect: ADSDialect) {
  let types = Kinds.all.prefix(3).compactMap {
    TypeURL(parsing: "\($0.type.group)/\($0.versions[0])/\($0.type.kind)")
  }
  var subscriber = ADSSubscriber(
    .init(
      dialect: dialect, types: types, node: Node(id: "fuzz"), source: "fuzz", upstream: "peer",
      instance: "00000000-0000-4000-8000-000000000000", limits: Limits()))
  _ = subscriber.begin(held: [:], position: nil, upstream: "peer")
  for (second, message) in messages.enumerated() {
    let now = Instant(nanoseconds: Int64(second) * 1_000_000_000)
    do throws(ADSError) {
      _ = try subscriber.receive(message, now: now, wallClock: Timestamp(seconds: 1_800_000_000))
      while subscriber.nextRequest() != nil {}
      while subscriber.nextEvent() != nil {}
      _ = subscriber.deadlinePassed(now: now)
    } catch {
      return
    }
  }
}
