// The mark of what belongs to the end of a step.
#pragma once

#include <optional>

#include "autograd/recorder.h"
#include "tidemark/scheduler.h"
#include "tidemark/tensor.h"

namespace tidemark::detail {

// While one lives, what is recorded belongs to the end of the step: it opens no new one, and no gradient is recorded.
class Updating {
 public:
  Updating(bool& updating, Recorder& recorder) : updating_(updating), recorder_(recorder) {
    updating_ = true;
    recorder_.set_phase(scheduler::Phase::kUpdate);
  }
  ~Updating() {
    updating_ = false;
    recorder_.set_phase(std::nullopt);
  }
  Updating(const Updating&) = delete;
  Updating& operator=(const Updating&) = delete;

 private:
  bool& updating_;
  Recorder& recorder_;
  NoGrad no_grad_;
};

}  // namespace tidemark::detail
