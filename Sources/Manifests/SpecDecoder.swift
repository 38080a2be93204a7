// What a manifest's `spec` would say for the bytes of a body: the question `dump` and `diff` ask of the
// schema. The rules are BodyJSON's; this is the door to them, for rooms that hold a resource and know its
// message by name only. Takes bytes of any peer.

extension Schema {
  /// `body`, a message of the full name `message`, as one line of JSON: fields in number order under their JSON
  /// names, enums by name, durations in seconds (`90s`), 64-bit integers in quotes, wrappers bare.
  /// Read back as a `spec` it gives the canonical form of `body`, save for what no manifest can say: unknown
  /// fields, durations beyond Go's 292 years, times and durations whose parts are out of range,
  /// keys above YAML's 1024 characters, more levels than `DocumentLimits.depth`.
  /// Nil when no descriptor of `message` is known, or the bytes are malformed or nested too deeply.
  /// The text is longer than `body` by a constant factor at most, so a bound on bodies bounds it.
  public func json(_ body: [UInt8], message: String) -> String? {
    BodyJSON(schema: self).text(of: body, message: message)
  }
}
