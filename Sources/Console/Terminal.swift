// Standard output and standard error of a command, unbuffered and whole.

import Glibc
import Primitives

// A reader that went away (a closed pipe) ends the output, not the command.

func printText(_ text: String) { printBytes(Array(text.utf8)[...]) }
/// Bytes that are text already.
func printBytes(_ bytes: ArraySlice<UInt8>) { _ = PlainFiles.write(bytes, to: STDOUT_FILENO) }
func printError(_ text: String) { _ = PlainFiles.write(Array(text.utf8)[...], to: STDERR_FILENO) }
