// What the same training takes in PyTorch.
#pragma once

#include <string>
#include <vector>

#include "tidemark/sweep.h"

namespace tidemark::report {

// The three ways that are compared, not measured yet.
std::vector<SweepPeer> peers();
// One more process of the peer: its seconds, and with the first its bytes. Where that fails `refused` says why.
void measure_peer(std::size_t which, const std::vector<std::string>& options, SweepPeer& peer);

}  // namespace tidemark::report
