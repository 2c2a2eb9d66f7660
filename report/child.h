// Work in a process of its own: what it measures of memory and time is the work's alone.
#pragma once

#include <functional>
#include <string>

namespace tidemark::report {

// What `work` returns in a forked child. What it throws is thrown here again, as the same kind of Error. Throws Error
// where this process has other threads (a child would miss them: no session may have run here), and where the child
// ends in another way, by a signal say.
std::string in_child(const std::function<std::string()>& work);

}  // namespace tidemark::report
