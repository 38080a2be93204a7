// The JSON of `/status` and `/readyz`: every key always present, null for what is not known, in one
// fixed order. Source of the names: DESIGN of the admin interface, docs/status.md.

public import Primitives

extension RelayStatus {
  /// The body of `GET /status`.
  public var json: [UInt8] {
    var writer = JSONWriter()
    write(to: &writer)
    return writer.bytes
  }

  public func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("node", node)
      writer.field("version", version)
      writer.field("ready", ready)
      writer.field("reasons", strings: reasons)
      writer.key("identity")
      if let identity { identity.write(to: &writer) } else { writer.null() }
      writer.key("config")
      config.write(to: &writer)
      writer.key("policy")
      policy.write(to: &writer)
      writer.key("shadow")
      if let shadow { shadow.write(to: &writer) } else { writer.null() }
      writer.key("snapshot")
      if let snapshot { snapshot.write(to: &writer) } else { writer.null() }
      writer.field("sources", array: { writer in for source in sources { source.write(to: &writer) } })
      writer.field("clients", array: { writer in for client in clients { client.write(to: &writer) } })
      writer.field("push", array: { writer in for sink in push { sink.write(to: &writer) } })
      writer.field("gates", array: { writer in for gate in gates { gate.write(to: &writer) } })
      writer.key("audit")
      audit.write(to: &writer)
      writer.key("store")
      store.write(to: &writer)
      writer.field("io", io)
      writer.field("ioReason", ioReason)
    }
  }
}

extension Readiness {
  /// The body of `GET /readyz`: `{"ready": …, "reasons": […]}`.
  public var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("ready", ready)
      writer.field("reasons", strings: reasons)
    }
    return writer.bytes
  }
}

extension JSONWriter {
  /// RFC 3339 in UTC, or null.
  public mutating func field(_ name: String, _ time: Timestamp?) { field(name, time?.rfc3339) }
}

extension Timestamp: Decodable {
  /// From RFC 3339 text, the form every time has in `/status`.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let time = Timestamp(rfc3339: text) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "'\(text)' is not RFC 3339")
    }
    self = time
  }
}

extension IdentityStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("spiffeID", spiffeID)
      writer.field("expiresAt", expiresAt)
      writer.field("survivesUntil", survivesUntil)
      writer.field("trustDomains", strings: trustDomains)
      writer.field("warnings", strings: warnings)
    }
  }
}

extension ConfigStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("state", state.rawValue)
      writer.field("loadedAt", loadedAt)
      writer.field("error", error)
    }
  }
}

extension PolicyStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("state", state.rawValue)
      writer.field("loadedAt", loadedAt)
      writer.field("hash", hash)
      writer.field("error", error)
      writer.field("ungranted", array: { writer in for rule in ungranted { rule.write(to: &writer) } })
      writer.field("ungrantedTotal", ungrantedTotal)
      writer.field("warnings", array: { writer in for warning in warnings { writer.string(warning) } })
      writer.field("warningsTotal", warningsTotal)
    }
  }
}

extension ShadowStatus {
  fileprivate func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("state", state.rawValue)
      writer.field("loadedAt", loadedAt)
      writer.field("hash", hash)
      writer.field("error", error)
      writer.field("counted", counted)
      writer.field(
        "clusters",
        array: { writer in
          for entry in clusters {
            writer.object { writer in
              writer.field("cluster", entry.cluster)
              writer.field("added", entry.added)
              writer.field("changed", entry.changed)
              writer.field("removed", entry.removed)
            }
          }
        })
      writer.field("clustersTotal", clustersTotal)
      writer.field("identities", strings: identities)
      writer.field("identitiesTotal", identitiesTotal)
    }
  }
}

extension UngrantedStatus {
  fileprivate func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("place", place)
      writer.field("extent", extent)
      writer.field("clusters", strings: clusters)
      writer.field("clustersTotal", clustersTotal)
      writer.field("example", example)
    }
  }
}

extension SnapshotStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("version", version)
      writer.field("origin", origin)
      writer.key("sequence")
      writer.raw(String(sequence))
      writer.field("resources", resources)
      writer.field("publishedAt", publishedAt)
      writer.field(
        "path",
        array: { writer in
          for hop in path {
            writer.object { writer in
              writer.field("instance", hop.instance)
              writer.field("node", hop.node)
            }
          }
        })
    }
  }
}

extension SourceStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("name", name)
      writer.field("kind", kind)
      writer.field("state", state.rawValue)
      writer.field("since", since)
      writer.field("resources", resources)
      writer.field(
        "rejected",
        array: { writer in
          for rejection in rejected {
            writer.object { writer in
              writer.field("place", rejection.place)
              writer.field("resource", rejection.resource)
              writer.field("reason", rejection.reason)
            }
          }
        })
      writer.field("rejectedTotal", rejectedTotal)
      writer.field("lastError", lastError)
      writer.field("address", address)
    }
  }
}

extension ClientStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("spiffeID", spiffeID)
      writer.field("cluster", cluster)
      writer.field("address", address)
      writer.field("protocol", self.protocol)
      writer.field("connectedAt", connectedAt)
      writer.field(
        "types",
        object: { writer in
          for (typeURL, subscription) in types.sorted(by: { $0.key < $1.key }) {
            writer.key(typeURL)
            subscription.write(to: &writer)
          }
        })
    }
  }
}

extension ClientStatus.Subscription {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("sent", sent)
      writer.field("acked", acked)
      writer.field("nacks", nacks)
      writer.field("lastNack", lastNack)
    }
  }
}

extension SinkStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("address", address)
      writer.field("spiffeID", spiffeID)
      writer.field("state", state.rawValue)
      writer.field("since", since)
      writer.field("lastError", lastError)
    }
  }
}

extension GateStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("kind", kind.rawValue)
      writer.field("cluster", cluster)
      writer.field("version", version)
      writer.field("since", since)
      writer.field("reason", reason)
      writer.field(
        "heldBack",
        object: { writer in
          writer.field("added", heldBack.added)
          writer.field("changed", heldBack.changed)
          writer.field("removed", heldBack.removed)
        })
    }
  }
}

extension StoreStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("state", state.rawValue)
      writer.field("error", error)
    }
  }
}

extension AuditStatus {
  func write(to writer: inout JSONWriter) {
    writer.object { writer in
      writer.field("state", state.rawValue)
      writer.field("head", head)
      writer.field("error", error)
    }
  }
}
