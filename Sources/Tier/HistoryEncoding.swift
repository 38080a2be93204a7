// `GET /history` as JSON. Contract: the field names (docs/status.md).

import Gates
import Primitives
import Snapshots
import Store

struct HistoryEncoding {
  enum Place: String {
    case memory
    case disk
  }

  private let place: Place
  private let limits: HistoryLimits
  /// Newest first.
  private let versions: [KeptVersion]

  init(place: Place, _ limits: HistoryLimits, _ versions: [KeptVersion]) {
    self.place = place
    self.limits = limits
    self.versions = versions
  }

  var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("kept", place.rawValue)
      writer.field("versionsMost", limits.versions)
      writer.field("keepSeconds", Int(limits.age.inSeconds))
      writer.field(
        "versions",
        array: { writer in
          for kept in versions { HistoryEncoding.write(kept, to: &writer) }
        })
    }
    return writer.bytes
  }

  private static func write(_ kept: KeptVersion, to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("version", kept.version.description)
      writer.field("savedAt", kept.savedAt.rfc3339)
      writer.field("resources", kept.resources)
      writer.field("origin", kept.position.origin)
      writer.key("sequence")
      writer.raw(String(kept.position.sequence))
      writer.field("publishedAt", kept.position.published.rfc3339)
      writer.field("isCut", kept.isCut)
    }
  }
}
