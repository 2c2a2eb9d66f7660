// Texts from files and command lines as messages show them: control characters, which would steer a terminal, are "?".
#pragma once

#include <string>
#include <string_view>

namespace tidemark::core {

// Ends of lines stay. UTF-8 passes, but for U+0080 to U+009F, which are control characters too.
std::string printable_text(std::string_view text);

// One line, of at most 100 bytes: a longer one is cut between two characters.
std::string printable_name(std::string_view name);

}  // namespace tidemark::core
