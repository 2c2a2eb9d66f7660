// Training graphs made from a family, a size and a seed, for measuring the scheduler. Every family records a forward
// program on a small tape and derives the backward ops from what each op saves; "random" and "eager" are of other
// shape: layered random graphs, and traces in which every elementwise op is one of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tidemark/scheduler.h"

namespace tidemark::bench {

// chain, residual, dense, unet, recurrent, tree, attention, eager, random.
std::span<const char* const> families();

// A graph of about `ops` ops; the same arguments give the same graph on every machine. Throws Error for an unknown
// family.
scheduler::Graph generate(const std::string& family, int ops, std::uint64_t seed);

}  // namespace tidemark::bench
