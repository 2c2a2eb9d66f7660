// Files as they are read and written: whatever a name leads to, and on a disk that is full.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>

#include "core/input_file.h"
#include "core/output_file.h"
#include "core/printable.h"
#include "tests/core/temporary_folder.h"
#include "tidemark/error.h"

namespace tidemark::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Pipes = InputFile::Pipes;

#define EXPECT_FILE_ERROR(expression, ...) \
  EXPECT_THAT([&] { (void)(expression); }, ThrowsMessage<FileError>(AllOf(__VA_ARGS__)))

std::string text_of(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

class FilesTest : public ::testing::Test {
 protected:
  test::TemporaryFolder folder_;
};

TEST_F(FilesTest, ReadsUpToTheBound) {
  folder_.write("a", "12345");
  EXPECT_EQ(text_of(read_file(folder_ / "a", 5, Pipes::kRefused)), "12345");
  EXPECT_FILE_ERROR(read_file(folder_ / "a", 4, Pipes::kRefused), HasSubstr(folder_ / "a"),
                    HasSubstr("longer than 4 B"));
  folder_.write("empty", "");
  EXPECT_EQ(read_file(folder_ / "empty", 0, Pipes::kRefused), Bytes());
  EXPECT_FALSE(read_file("/proc/self/status", 1 << 20, Pipes::kRefused).empty());  // says that its size is 0
}

TEST_F(FilesTest, AFileLongerThanTheBoundIsNotRead) {
  folder_.write("zeros", "");
  std::filesystem::resize_file(folder_ / "zeros", std::uintmax_t{5} << 30);  // takes nothing on the disk
  EXPECT_FILE_ERROR(read_file(folder_ / "zeros", 1 << 20, Pipes::kRefused), HasSubstr("longer than 1.0 MiB"));
}

TEST_F(FilesTest, WhatIsNoFileIsNotRead) {
  EXPECT_FILE_ERROR(read_file("/dev/zero", 100, Pipes::kRead), HasSubstr("/dev/zero: is a device, not a file"));
  EXPECT_FILE_ERROR(read_file(folder_.path(), 100, Pipes::kRead), HasSubstr("is a directory, not a file"));
  EXPECT_FILE_ERROR(read_file(folder_ / "none", 100, Pipes::kRead), HasSubstr("No such file"));
  EXPECT_FILE_ERROR(read_file(folder_ / std::string(300, 'n'), 100, Pipes::kRead), HasSubstr("File name too long"));
  std::filesystem::create_symlink("loop", folder_ / "loop");
  EXPECT_FILE_ERROR(read_file(folder_ / "loop", 100, Pipes::kRead), HasSubstr("loop"), HasSubstr("symbolic links"));
}

TEST_F(FilesTest, PipesEndAndAreBounded) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_file(folder_ / "pipe", 100, Pipes::kRead), Bytes());  // nobody writes, and nobody waits
  EXPECT_FILE_ERROR(read_file(folder_ / "pipe", 100, Pipes::kRefused), HasSubstr("pipe: is a pipe, not a file"));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread writer([&] {
    const std::string part(1000, 'p');
    for (int i = 0; i < 60; ++i) ASSERT_EQ(::write(ends[1], part.data(), part.size()), 1000);
    ::close(ends[1]);
  });
  const std::string name = "/dev/fd/" + std::to_string(ends[0]);
  EXPECT_FILE_ERROR(read_file(name, 20000, Pipes::kRead), HasSubstr(name), HasSubstr("longer than"));
  EXPECT_FALSE(read_file(name, 60000, Pipes::kRead).empty());  // the rest of it
  writer.join();
  ::close(ends[0]);
}

TEST_F(FilesTest, ReplacesWhenItIsPublished) {
  folder_.write("a", "old");
  chmod((folder_ / "a").c_str(), 0640);
  {
    OutputFile file(folder_ / "a");
    file.append("new ");
    EXPECT_EQ(folder_.read("a"), "old");
    file.append("text");
    file.publish();
    EXPECT_EQ(folder_.read("a"), "new text");
    file.append(", and more");  // as a log does
    EXPECT_EQ(folder_.read("a"), "new text, and more");
    file.publish();
  }
  EXPECT_EQ(folder_.read("a"), "new text, and more");
  EXPECT_EQ(folder_.count(), 1);
  struct stat status {};
  ASSERT_EQ(stat((folder_ / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(FilesTest, WhatIsNotPublishedLeavesNoTrace) {
  folder_.write("a", "old");
  for (const char* name : {"a", "b"}) OutputFile(folder_ / name).append("new");
  EXPECT_EQ(folder_.read("a"), "old");
  EXPECT_EQ(folder_.count(), 1);
}

TEST_F(FilesTest, LinksStay) {
  std::filesystem::create_directory(folder_ / "there");
  folder_.write("there/a", "old");
  std::filesystem::create_symlink("there/a", folder_ / "link");
  std::filesystem::create_symlink("there/b", folder_ / "to be made");
  for (const char* name : {"link", "to be made"}) {
    OutputFile file(folder_ / name);
    file.append("new");
    file.publish();
    EXPECT_TRUE(std::filesystem::is_symlink(folder_ / name));
  }
  EXPECT_EQ(folder_.read("there/a"), "new");
  EXPECT_EQ(folder_.read("there/b"), "new");
}

TEST_F(FilesTest, WhatCannotBeWrittenSaysWhyBeforeAnythingIsMade) {
  std::filesystem::create_directory(folder_ / "open");
  std::filesystem::create_directory(folder_ / "closed");
  folder_.write("closed/a", "old");
  folder_.write("open/read-only", "old");
  chmod((folder_ / "open").c_str(), 0777);
  chmod((folder_ / "closed").c_str(), 0555);
  chmod((folder_ / "open/read-only").c_str(), 0444);
  std::filesystem::create_symlink("loop", folder_ / "open/loop");
  const test::WithoutPrivileges somebody;
  const std::pair<std::string, const char*> cases[] = {
      {folder_ / "open", "is a directory"},        {folder_ / "open/", "is a directory"},
      {folder_ / "new/", "names no file"},         {"", "names no file"},
      {folder_ / "nowhere/a", "No such file"},     {folder_ / "closed/a", "Permission denied"},
      {folder_ / "closed/b", "Permission denied"}, {folder_ / "open/read-only", "Permission denied"},
      {folder_ / "open/loop", "symbolic links"},   {folder_ / ("open/" + std::string(300, 'n')), "File name too long"},
  };
  for (const auto& entry : cases) {
    const std::string path = entry.first;
    const char* why = entry.second;
    EXPECT_FILE_ERROR(OutputFile(path), HasSubstr(path + ": cannot be written: "), HasSubstr(why));
    EXPECT_FILE_ERROR(OutputFile::check(path), HasSubstr(path + ": cannot be written: "), HasSubstr(why));
  }
  EXPECT_NO_THROW(OutputFile(folder_ / ("open/" + std::string(255, 'n'))));  // as long as names can be
}

TEST_F(FilesTest, AFullDiskLeavesTheOldFileAndWholeLines) {
  EXPECT_FILE_ERROR(OutputFile("/dev/full").append("x"), HasSubstr("/dev/full: cannot be written: No space left"));
  folder_.write("a", "old");
  folder_.write("log", "old");
  const test::FullDisk full(100);
  const std::string line = std::string(39, 'x') + "\n";
  EXPECT_FILE_ERROR(OutputFile(folder_ / "a").append(line + line + line), HasSubstr("a: cannot be written: "));
  EXPECT_EQ(folder_.read("a"), "old");
  {
    OutputFile log(folder_ / "log");
    log.append(line);
    log.publish();
    log.append(line);
    EXPECT_FILE_ERROR(log.append(line), HasSubstr("log: cannot be written: "));
    EXPECT_EQ(folder_.read("log"), line + line);
    log.append("short\n");  // where the line that was cut off had begun
  }
  EXPECT_EQ(folder_.read("log"), line + line + "short\n");
  EXPECT_EQ(folder_.count(), 2);
}

TEST_F(FilesTest, DevicesAndPipesAreWrittenAsTheyAre) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] { got = folder_.read("pipe"); });
  {
    OutputFile file(folder_ / "pipe");
    file.append("line\n");
    file.publish();
  }
  reader.join();
  EXPECT_EQ(got, "line\n");
  EXPECT_TRUE(std::filesystem::is_fifo(folder_ / "pipe"));
  OutputFile null("/dev/null");
  null.append("line\n");
  null.publish();
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST_F(FilesTest, OneFileUnderTwoNames) {
  folder_.write("a", "");
  folder_.write("b", "");
  std::filesystem::create_symlink("a", folder_ / "link");
  std::filesystem::create_hard_link(folder_ / "a", folder_ / "hard");
  EXPECT_TRUE(same_file(folder_ / "a", folder_.path() / "." / "a"));
  EXPECT_TRUE(same_file(folder_ / "a", folder_ / "link"));
  EXPECT_TRUE(same_file(folder_ / "hard", folder_ / "a"));
  EXPECT_FALSE(same_file(folder_ / "a", folder_ / "b"));
  EXPECT_FALSE(same_file(folder_ / "none", folder_ / "none"));
  EXPECT_FALSE(same_file("/dev/null", "/dev/null"));  // nothing is lost there
}

TEST(PrintableTest, ControlCharactersAreShown) {
  EXPECT_EQ(printable_text("a\x1b[2J\tb\x7f\nc"), "a?[2J?b?\nc");
  EXPECT_EQ(printable_text("\xc3\xa4 \xc2\x9b"
                           "2J \xc2\xa0"),
            "\xc3\xa4 ?2J \xc2\xa0");
  EXPECT_EQ(printable_name("a\nb"), "a?b");
  EXPECT_EQ(printable_name(std::string(100, 'a')), std::string(100, 'a'));
  EXPECT_EQ(printable_name(std::string(99, 'a') + "\xc3\xa4"), std::string(99, 'a') + "...");
}

}  // namespace
}  // namespace tidemark::core
