// Header fields as nghttp2 wants to be given them: an array of pointers, valid during one call.

internal import CNghttp2

enum FieldBlock {
  /// Runs `body` with `fields` as `nghttp2_nv`; nghttp2 copies them before it returns.
  static func with<R>(_ fields: HeaderList, _ body: (UnsafePointer<nghttp2_nv>?, Int) -> R) -> R {
    var text: [UInt8] = []
    for field in fields {
      text.append(contentsOf: field.name.utf8)
      text.append(contentsOf: field.value.utf8)
    }
    return unsafe text.withUnsafeMutableBufferPointer { text in
      var entries = unsafe [nghttp2_nv]()
      unsafe entries.reserveCapacity(fields.count)
      var offset = 0
      for field in fields {
        let (nameBytes, valueBytes) = (field.name.utf8.count, field.value.utf8.count)
        let name = unsafe text.baseAddress.map { unsafe $0 + offset }
        let value = unsafe text.baseAddress.map { unsafe $0 + offset + nameBytes }
        unsafe entries.append(
          nghttp2_nv(
            name: name, value: value, namelen: nameBytes, valuelen: valueBytes,
            flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
        offset += nameBytes + valueBytes
      }
      return unsafe entries.withUnsafeBufferPointer { unsafe body($0.baseAddress, $0.count) }
    }
  }
}
