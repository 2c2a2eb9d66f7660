// Texts in columns of a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tidemark::loop {

// The most columns that the text takes: without the terminal's own tables, every character beyond ASCII may take two.
std::size_t columns(std::string_view text);
// As much of the text as fits into so many columns, cut between two characters.
std::string_view cut(std::string_view text, std::size_t columns);
// Lines of cells in columns, two blanks apart: the first column at its left edge, numbers at their right.
std::string aligned(const std::vector<std::vector<std::string>>& lines);

}  // namespace tidemark::loop
