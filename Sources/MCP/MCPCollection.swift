// What a collection is called in the classic protocol, and which kind is meant.
//
// Istio 1.1 and later: `istio/networking/v1alpha3/virtualservices`. Istio 1.0: the type of the bodies,
// `type.googleapis.com/istio.networking.v1alpha3.VirtualService`. Both are understood everywhere. A name
// of neither table is a collection that has nothing, among them `synthetic/serviceentries`, which only a
// service registry could fill.

internal import Snapshots

/// A collection as one peer names it.
struct MCPCollection: Sendable, Equatable {
  /// The peer's own text; responses repeat it byte for byte.
  let name: String
  /// Nil for a collection nobody can have.
  let type: TypeName?
  /// MeshConfig: the one kind that has no name of its own.
  let isBare: Bool

  /// Longest name that is looked at, in bytes. Reason: twice the longest in use.
  static let bytesMax = 256

  /// The name sent first where the source dials, since some HTTP/2 stacks wait for the dialler's data.
  /// Sinks refuse it as unknown, which is all it is for.
  static let trigger = "$triggerCollection"

  /// The name that Galley gave the one MeshConfig.
  static let bareName = "istio-system/meshconfig"

  private static let anyPrefix = "type.googleapis.com/"

  init(_ name: String) {
    let kind =
      name.hasPrefix(MCPCollection.anyPrefix)
      ? Kinds[bodyMessage: String(name.dropFirst(MCPCollection.anyPrefix.count))] : Kinds[collection: name]
    self.name = name
    type = kind?.type
    isBare = kind?.isBare == true
  }

  /// How we ask for a kind; nil for one that the classic protocol never had.
  init?(of kind: Kind) {
    guard let name = kind.collection else { return nil }
    self.init(name)
  }

  /// How Istio 1.0 is asked for a kind; nil for one that cannot be told from another by its bodies.
  init?(byBodyOf kind: Kind) {
    self.init(MCPCollection.anyPrefix + kind.bodyMessage)
    guard type == kind.type else { return nil }
  }

  /// What there is of it in a view.
  func state(in view: View) -> TypeState {
    type.map { view.state(of: $0) } ?? view.state(of: TypeURL?.none)
  }

  /// The name under which a collection holds what the peer calls `peerName`.
  func heldName(of peerName: String) -> String {
    type.map { Admission.heldName(of: peerName, type: $0) } ?? peerName
  }

  /// What the peer calls what a collection holds under `heldName`.
  func peerName(of heldName: String) -> String { isBare ? MCPCollection.bareName : heldName }
}
