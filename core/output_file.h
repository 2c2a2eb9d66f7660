// Files as they are written: a file under the name is replaced by a whole new one, or stays as it was.
//
// What is appended goes to a temporary in the same folder, without a name where the file system has such files, and
// publish() gives it the name once it is on the disk. A
// document is appended whole and then published. A log is published with its first line and goes on from there: whoever
// opens the name sees whole lines from then on, and until then, or where nothing is ever written, the log before.
// A symbolic link stays, and what it leads to is replaced; the new file has the old one's permissions.
//
// Devices, pipes, and the process's own standard output and error have no content to lose, and no name that could pass
// to another file: they are written as they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tidemark::core {

class OutputFile {
 public:
  // Throws FileError where a file of that name cannot be written. Changes nothing under it.
  explicit OutputFile(const std::string& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  // Without publish() there is nothing left of it.
  ~OutputFile();

  // Throws what the constructor would say of the folder and the file that is there, and makes nothing: for programs
  // that write only after much work.
  static void check(const std::string& path);

  // All of them, at the end; where that fails, on a full disk say, none: FileError, and the file ends where it did.
  void append(std::string_view bytes);
  // What has been appended is on the disk, and under its name. May be called again after more has been appended.
  void publish();

  // What was renamed in the file's folder outlives a power cut, where the system can wait for that.
  static void sync_folder(const std::string& path);

 private:
  std::string path_;       // as it was given, for messages
  std::string target_;     // without symbolic links; empty where the file is written as it is
  std::string temporary_;  // empty once it has the name, and while it has none
  bool nameless_ = false;  // it has none yet
  int descriptor_ = -1;
};

// Both names lead to the same file on a disk, whose content a write to one would take from the other.
bool same_file(const std::string& a, const std::string& b);

}  // namespace tidemark::core
