// Goal: no file stops the process, takes more memory than its bytes allow, or is taken for whole when it is not; what is
// taken for whole is admitted object by object. Method: the input twice: as a file as it is, and as a run of blocks
// that are framed and chained here, so that their contents are reached behind the hashes.

import Digest
import Primitives
import Snapshots

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 1 else { return 0 }
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  let piece = Int(input[0]) * 8 + 1
  read(Array(input.dropFirst()), pieces: piece)
  read(file(of: input.dropFirst()), pieces: piece)
  return 0
}

/// One byte of kind and two of length before each block's content; the last one takes what is left.
private func file(of input: ArraySlice<UInt8>) -> [UInt8] {
  var file: [UInt8] = [0x89, 0x4D, 0x53, 0x48, 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 1]
  var chain = SHA256.hash(file)
  var rest = input
  while rest.count >= 3 {
    let (kind, high, low) = (rest[rest.startIndex], rest[rest.startIndex + 1], rest[rest.startIndex + 2])
    let content = rest.dropFirst(3).prefix(Int(high) << 8 | Int(low))
    rest = rest.dropFirst(3 + content.count)
    let block = [kind, 0, 0, UInt8(content.count >> 8), UInt8(content.count & 0xFF)] + content
    chain = SHA256.hash(chain + block)
    file += block + chain
  }
  return file
}

private func read(_ file: [UInt8], pieces: Int) {
  var limits = Limits()
  limits.resourceBytes = 4096
  var reader = ArchiveReader(resourceBytesMost: limits.resourceBytes)
  var intake = ArchiveIntake(
    source: "fuzz", limits: limits, intake: Intake(), now: Timestamp(seconds: 1_800_000_000))
  var rest = file[...]
  var objects = 0
  do throws(ArchiveError) {
    while !rest.isEmpty {
      let items = try reader.receive(Array(rest.prefix(pieces)))
      rest = rest.dropFirst(pieces)
      for case .resource(let bytes) in items {
        objects += 1
        precondition(bytes.count <= limits.resourceBytes, "an object above its limit")
      }
      try intake.take(items, offset: reader.offset)
      precondition(reader.offset <= file.count, "a place beyond the file's end")
    }
    try reader.finish()
    let carried = try intake.finish(offset: reader.offset)
    precondition(carried.header.resources == objects, "not as many objects as the header says")
    let admitted = carried.contents.reduce(0) { $0 + $1.collection.count }
    precondition(admitted + carried.rejected.count >= objects, "an object got lost without a word")
    for (before, after) in zip(carried.contents, carried.contents.dropFirst()) {
      precondition(before.type < after.type, "types out of order")
    }
  } catch {
    precondition(!error.what.isEmpty, "refused without a reason")
  }
}
