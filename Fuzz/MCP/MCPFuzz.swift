// Goal: no sequence of a sink's messages stops the process, in any method of the classic protocol, and what leaves
// stays acknowledgeable and within what the view shows. Method: the input is a run of length-prefixed messages,
// with a view that changes in between and narrows.

import MCP
import Primitives
import Snapshots

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 1 else { return 0 }
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  serve(split(input.dropFirst()), MCPMethod.allCases[Int(input[0]) % MCPMethod.allCases.count])
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

private func serve(_ messages: [[UInt8]], _ method: MCPMethod) {
  var source = MCPSource(method: method, limits: Limits())
  var nonces: Set<String> = []
  for (second, message) in messages.enumerated() {
    let now = Instant(nanoseconds: Int64(second) * 4_000_000_000)
    let view = view(number: UInt64(second))
    source.update(view)
    do throws(MCPError) {
      try source.receive(message, now: now)
      while let response = try source.nextResponse(now: now) {
        precondition(nonces.insert(response.nonce).inserted, "a nonce occurs twice on one stream")
        precondition(response.resources <= 1, "more was sent than there is")
      }
      while source.nextEvent() != nil {}
      source.deadlinePassed(now: now)
    } catch {
      return
    }
    var room = 10
    for detail in source.details(room: &room) {
      precondition(detail.resources.count <= 1, "a sink cannot hold more than there ever was")
    }
    _ = source.isLagging(now: now)
  }
}

/// Nothing at first, then one object that comes, goes by policy, and goes by its source.
private func view(number: UInt64) -> View {
  guard number > 0 else { return View.nothing }
  let type = TypeName(group: "networking.istio.io", kind: "VirtualService")
  let object = Collection([object(of: type)].compactMap(\.self))
  let position = Position(
    origin: "fuzz", sequence: number, published: Timestamp(seconds: 1_800_000_000), path: [])
  let snapshot = Snapshot(
    collections: number % 3 == 0 ? [:] : [type: object], pending: [], isComplete: true, position: position)
  return View(number: number, collections: number % 3 == 1 ? [type: object] : [:], snapshot: snapshot)
}

private func object(of type: TypeName) -> Resource? {
  let draft = ResourceDraft(
    namespace: "a", name: "b", createTime: Timestamp(seconds: 1_700_000_000),
    bodyMessage: "istio.networking.v1alpha3.VirtualService", body: [], source: "fuzz")
  return try? Admission.admit(type: type, draft: draft, limits: Limits())
}
