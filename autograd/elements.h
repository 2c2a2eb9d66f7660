// Numbers of one type written as another; see tidemark/elements.h for the rule.
#pragma once

#include <cstdint>
#include <string_view>

#include "tidemark/elements.h"
#include "tidemark/error.h"
#include "tidemark/meta.h"

namespace tidemark::detail {

ElementType element_type_of(DType dtype);

// Throws Error where a number has no place in the other type; `to` may be partly written then. `what` is the call's
// name.
void convert_elements(const void* from, ElementType from_type, void* to, ElementType to_type, std::int64_t count,
                      std::string_view what, SourceLocation where);

}  // namespace tidemark::detail
