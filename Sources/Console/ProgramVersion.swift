// The one place the program's version is written.

public enum ProgramVersion {
  public static let text = "0.1.0"
}
