// Goal: the empty answer that istiod gives for a version it does not list is never taken for an empty kind, and
// the version it does list is found. Method: a subscriber that searches, and answers written by hand.

import Primitives
import Snapshots
import Testing

@testable import XDS

struct VersionSearchTests {
  private let services = TypeName(group: "networking.istio.io", kind: "VirtualService")
  private let wall = Timestamp(seconds: 1_000)

  private func subscriber() -> ADSSubscriber {
    var settings = ADSSubscriber.Settings(
      dialect: .stateOfTheWorld, types: [TypeURL(type: services, version: "v1")], node: Node(id: "me"),
      source: "istiod", upstream: "up", instance: "i", limits: Limits())
    settings.searchesVersions = true
    return ADSSubscriber(settings)
  }

  private func url(_ version: String) -> String { TypeURL(type: services, version: version).text }

  private func response(_ version: String, _ names: [String]) throws -> [UInt8] {
    var head = ProtobufWriter()
    head.string(1, "2026-01-01T00:00:00Z/1")
    head.string(4, url(version))
    head.string(5, "n")
    let resources = try names.map { name in
      try Admission.admit(
        type: services,
        draft: ResourceDraft(
          namespace: "prod", name: name, createTime: Timestamp(seconds: 1),
          bodyMessage: "istio.networking.v1alpha3.VirtualService", body: [], source: "truth"),
        limits: Limits())
    }
    return head.bytes + Collection(resources).body(.inner).bytes
  }

  private func receive(
    _ subscriber: inout ADSSubscriber, _ version: String, _ names: [String]
  ) throws -> [SourceUpdate] {
    try subscriber.receive(
      response(version, names), now: Instant(nanoseconds: 1), wallClock: wall)
  }

  /// Type URLs of what waits to be written, acknowledgements left out.
  private func asked(_ subscriber: inout ADSSubscriber) throws -> [String] {
    var urls: [String] = []
    while let bytes = subscriber.nextRequest() {
      let request = try DiscoveryRequest(bytes, namesMax: 10)
      if request.nonce.isEmpty { urls.append(request.typeURL) }
    }
    return urls
  }

  @Test func anOldIstiodIsFoundOut() throws {
    var subscriber = subscriber()
    _ = subscriber.begin(held: [:], positions: [:], upstream: "up")
    #expect(try receive(&subscriber, "v1", []).isEmpty, "an empty answer proves nothing yet")
    #expect(try asked(&subscriber) == [url("v1beta1"), url("v1alpha3")])
    #expect(try receive(&subscriber, "v1beta1", []).isEmpty)
    let updates = try receive(&subscriber, "v1alpha3", ["a"])
    guard case .change(_, let upserts, _)? = updates.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.map(\.wireName) == ["prod/a"])
    #expect(try receive(&subscriber, "v1", []).isEmpty, "the others say nothing any more")
    _ = try asked(&subscriber)
    subscriber.refresh()
    #expect(try asked(&subscriber) == [url("v1alpha3")])
    // The next stream begins with what was found.
    let first = subscriber.resume(upstream: "up")
    #expect(try DiscoveryRequest(first[0], namesMax: 10).typeURL == url("v1alpha3"))
  }

  @Test func aKindIsEmptyWhenEveryVersionIs() throws {
    var subscriber = subscriber()
    _ = subscriber.begin(held: [:], positions: [:], upstream: "up")
    for version in ["v1", "v1beta1"] { #expect(try receive(&subscriber, version, []).isEmpty) }
    let updates = try receive(&subscriber, "v1alpha3", [])
    #expect(updates.count == 2, "the kind, and that the source is complete")
    // The first object shows under the version that it is listed in.
    let later = try receive(&subscriber, "v1beta1", ["a"])
    guard case .change(_, let upserts, _)? = later.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.count == 1)
  }

  /// After an upgrade across 1.24 the version asked for is answered with nothing.
  @Test func anUpgradeIsNoDeletion() throws {
    var subscriber = subscriber()
    _ = subscriber.begin(held: [:], positions: [:], upstream: "up")
    _ = try receive(&subscriber, "v1", ["a"])
    _ = subscriber.resume(upstream: "up")
    #expect(try receive(&subscriber, "v1", []).isEmpty)
    let updates = try receive(&subscriber, "v1beta1", ["a"])
    guard case .change(_, let upserts, let removals)? = updates.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.isEmpty && removals.isEmpty, "the same content under another name")
  }

  @Test func anEmptyKindThatHadSomethingIsSuspect() throws {
    var subscriber = subscriber()
    _ = subscriber.begin(held: [:], positions: [:], upstream: "up")
    _ = try receive(&subscriber, "v1", ["a"])
    while subscriber.nextEvent() != nil {}
    _ = subscriber.resume(upstream: "up")
    for version in ["v1", "v1beta1", "v1alpha3"] {
      #expect(try receive(&subscriber, version, []).isEmpty)
    }
    #expect(subscriber.nextEvent() == .turnedEmpty(typeURL: url("v1")))
  }
}
