#include "tools/progress.h"

#include <algorithm>

#include "tidemark/units.h"

namespace tidemark::tools {
namespace {

constexpr int kBarWidth = 20;
constexpr std::int64_t kPlainLines = 20;
constexpr std::chrono::milliseconds kRedraw{100};

}  // namespace

Progress::Progress(std::FILE* out, bool terminal, std::int64_t steps, std::optional<std::int64_t> budget)
    : out_(out),
      terminal_(terminal),
      steps_(steps),
      budget_(budget),
      every_(std::max<std::int64_t>(1, steps / kPlainLines)) {}

std::string Progress::line(const State& state) const {
  std::string memory = format_bytes(terminal_ ? state.live_bytes : state.peak_bytes);
  if (budget_) memory += " of " + format_bytes(*budget_);
  char text[256];
  std::snprintf(text, sizeof text, "step %lld/%lld  loss %.4f  %.1f samples/s  %s %s  %lld recomputed",
                static_cast<long long>(state.step), static_cast<long long>(steps_), static_cast<double>(state.loss),
                state.samples_per_second, terminal_ ? "live" : "peak", memory.c_str(),
                static_cast<long long>(state.recomputed_ops));
  return text;
}

void Progress::update(const State& state) {
  const bool last = state.step == steps_;
  if (!terminal_) {
    if (state.step == 1 || state.step % every_ == 0 || last) std::fprintf(out_, "%s\n", line(state).c_str());
    std::fflush(out_);
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - last_draw_ < kRedraw && !last) return;
  last_draw_ = now;
  const auto filled = static_cast<std::size_t>(state.step * kBarWidth / std::max<std::int64_t>(1, steps_));
  std::string text = "[";
  text.append(filled, '#').append(kBarWidth - filled, '.').append("] ").append(line(state));
  const std::size_t length = text.size();
  if (length < drawn_) text.append(drawn_ - length, ' ');  // over what the longer line before left
  drawn_ = length;
  std::fprintf(out_, "\r%s", text.c_str());
  std::fflush(out_);
}

void Progress::finish() {
  if (drawn_ > 0) std::fputc('\n', out_);
  drawn_ = 0;
  std::fflush(out_);
}

}  // namespace tidemark::tools
