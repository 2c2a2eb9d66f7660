// Files of the page, as the build puts them into the library.
#pragma once

#include <string_view>

namespace tidemark::report {

extern const std::string_view kPageHtml;
extern const std::string_view kPageCss;
extern const std::string_view kPageJs;
extern const std::string_view kUplotCss;
extern const std::string_view kUplotJs;
extern const std::string_view kTorchPeer;

}  // namespace tidemark::report
