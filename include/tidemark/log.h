// A log of a run as JSON lines: one object a line, for programs to read.
//
//   td::JsonLog log("run.jsonl");
//   log.write({{"step", i}, {"loss", loss.item()}, {"test_accuracy", accuracy.value()}});
//   log.finish();
//
// A line is written whole or not at all. The file is there for readers with its first line and then grows line by line.
// Until that line, a log of an earlier run stays under the name: a run that fails before its first step has nothing to
// say that would be worth it. Devices, pipes and /dev/stdout are written as they are.
//
// Numbers are written so that reading gives the same bits. JSON has no NaN and no infinity: they are null, in lists as
// well. Bytes of a text that are not UTF-8 are U+FFFD.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "tidemark/error.h"
#include "tidemark/fields.h"

#pragma GCC visibility push(default)
namespace tidemark {

class JsonLog {
 public:
  // An empty path writes nothing. Throws FileError where a file of that name cannot be written, and changes nothing.
  explicit JsonLog(std::string path);
  JsonLog(JsonLog&&) noexcept;
  JsonLog& operator=(JsonLog&&) noexcept;
  ~JsonLog();

  bool enabled() const { return !path_.empty(); }
  // Throws FileError where the line cannot be written, and Error where a name is there twice.
  void write(std::span<const Field> fields, SourceLocation where = SourceLocation::current());
  void write(std::initializer_list<Field> fields, SourceLocation where = SourceLocation::current()) {
    write(std::span<const Field>(fields.begin(), fields.size()), where);
  }
  // Once all lines are written: they are on the disk. Throws FileError where they are not.
  void finish();

 private:
  struct [[gnu::visibility("hidden")]] File;
  std::string path_;
  std::unique_ptr<File> file_;  // from the first line on
};

}  // namespace tidemark
#pragma GCC visibility pop
