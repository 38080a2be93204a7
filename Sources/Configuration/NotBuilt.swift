// What the configuration file will know and this version does not: refused by name, never ignored.
// One table, so that lifting a refusal is taking out one line and reading the key.

import Documents

enum NotBuilt {
  /// Keys, by the path that leads to them.
  private static let keys: [String: [String]] = [
    "sources": ["git", "etcd"]
  ]

  /// Reports every key of this mapping that is not built yet.
  static func refuseKeys(of reader: MappingReader) {
    for key in keys[reader.path] ?? [] { reader.refuse(key) }
  }

  /// Whether `keys` refuses this one: then its absence of value needs no second problem.
  static func refuses(_ key: String, in reader: MappingReader) -> Bool {
    (keys[reader.path] ?? []).contains(key) && reader.entry(key) != nil
  }
}
