// Rows of what the machine can do, as benchmarks of their own: machine/copy and machine/triad stream 16 MiB a value,
// machine/peak multiplies and adds in registers.
#pragma once

namespace tidemark {

void add_machine_rows(int threads);

}  // namespace tidemark
