// Where in a file something stands, so that every problem can be found with an editor.

/// A place in a text file. Lines and columns count from 1; a column counts Unicode scalars.
public struct SourcePosition: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// As the operator named the file, or relative to the folder that was read.
  public let file: String
  public let line: Int
  public let column: Int

  public init(file: String, line: Int, column: Int) {
    self.file = file
    self.line = line
    self.column = column
  }

  /// The first character of a file: for problems of the file as a whole.
  public static func start(of file: String) -> SourcePosition {
    SourcePosition(file: file, line: 1, column: 1)
  }

  public var description: String { "\(file):\(line):\(column)" }

  public static func < (left: SourcePosition, right: SourcePosition) -> Bool {
    (left.file, left.line, left.column) < (right.file, right.line, right.column)
  }
}

/// A value read from a file together with its place, for checks that come after reading.
public struct Located<Value> {
  public let value: Value
  public let position: SourcePosition

  public init(_ value: Value, at position: SourcePosition) {
    self.value = value
    self.position = position
  }
}

extension Located: Sendable where Value: Sendable {}
extension Located: Equatable where Value: Equatable {}
