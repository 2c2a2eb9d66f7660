// What is checked before it reaches the tape, and errors with the user's line.
#pragma once

#include <span>
#include <string_view>

#include "compute/machine.h"
#include "tidemark/op.h"

namespace tidemark::detail {

// In a catch block: throws what was caught, with op and line in its text where they are not there yet. An error of
// oneDNN becomes an Error.
[[noreturn]] void rethrow_at(std::string_view op, SourceLocation where);

// Meta::plain, whose ShapeError names the caller's line.
Meta plain_meta(std::string_view what, const Shape& shape, DType dtype, SourceLocation where);

// Throws Error where what prepare() answered for these inputs makes no sense.
void check_prepared(const compute::Machine& machine, std::string_view op, const Prepared& prepared,
                    std::span<const Meta> in, SourceLocation where);

}  // namespace tidemark::detail
