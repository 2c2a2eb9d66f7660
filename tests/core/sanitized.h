#pragma once

namespace tidemark::test {

// The address sanitizer keeps what was freed for a while: tests of resident bytes say nothing there.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tidemark::test
