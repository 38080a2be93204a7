// The section `push`: classic MCP sinks that we dial.

internal import Documents
public import SPIFFE

/// A server that waits for its source to call.
public struct PushSettings: Sendable {
  public let address: NetworkAddress
  /// Who it must be; policy decides what it is given.
  public let spiffeID: SPIFFEPattern
  let position: SourcePosition

  static func readAll(_ reader: MappingReader) -> [PushSettings] {
    guard reader.entry("push") != nil else { return [] }
    var known: Set<NetworkAddress> = []
    return reader.mappings("push", required: false) { item in
      guard let settings = read(item) else { return nil }
      if !known.insert(settings.address).inserted {
        item.problems.report(
          item.position, "\(settings.address) is pushed to twice", howToFix: "remove one of them")
      }
      return settings
    } ?? []
  }

  private static func read(_ reader: MappingReader) -> PushSettings? {
    let address = reader.string("address", required: true).flatMap {
      reader.address(from: $0, name: reader.name("address"), listening: false)
    }
    let spiffeID = reader.identityPattern("spiffeID")
    guard let address, let spiffeID else { return nil }
    return PushSettings(address: address, spiffeID: spiffeID, position: reader.position)
  }
}
