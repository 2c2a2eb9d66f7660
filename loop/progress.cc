#include "tidemark/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <ctime>
#include <string_view>
#include <variant>

#include "core/printable.h"
#include "loop/text.h"
#include "tidemark/session.h"
#include "tidemark/units.h"

namespace tidemark {
namespace {

constexpr int kBarWidth = 20;
constexpr int kUsualWidth = 80;
constexpr std::int64_t kPlainLines = 20;
constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kPlainPause{10};

// While one lives, this thread gets no SIGPIPE; one that a write has brought is taken away at its end.
class WithoutPipeSignal {
 public:
  WithoutPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutPipeSignal() {
    const timespec at_once{};
    if (!pending_) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutPipeSignal(const WithoutPipeSignal&) = delete;
  WithoutPipeSignal& operator=(const WithoutPipeSignal&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool pending_ = false;
};

// What cannot be written is lost.
void put(std::FILE* out, std::string_view text) {
  const WithoutPipeSignal without;
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
}

int terminal_width(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualWidth;
}

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

// Four decimals, unless that would hide a small number or write out a huge one.
std::string to_text(double value) {
  const double size = std::abs(value);
  return format(size == 0 || (size >= 1e-3 && size < 1e6) ? "%.4f" : "%.3g", value);
}
std::string to_text(std::nullptr_t) { return "-"; }
std::string to_text(bool value) { return value ? "true" : "false"; }
std::string to_text(std::int64_t value) { return std::to_string(value); }
std::string to_text(std::uint64_t value) { return std::to_string(value); }
std::string to_text(const std::string& value) { return core::printable_name(value); }
template <class T>
std::string to_text(const std::vector<T>& values) {
  std::string text;
  for (const T value : values) text += (text.empty() ? "" : ", ") + to_text(value);
  return "[" + text + "]";
}

// "0:07", "12:34", "1:02:03".
std::string duration(double seconds) {
  const auto whole = static_cast<long long>(std::min(std::round(seconds), 1e12));
  if (whole < 3600) return format("%lld:%02lld", whole / 60, whole % 60);
  return format("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

// " ▁▄█▆▂": the course of memory over the last step, from its lowest to its highest; nothing of too short a step.
std::string sparkline(const std::vector<std::int64_t>& curve) {
  static constexpr const char* kHeights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::size_t kColumns = 16;
  if (curve.size() < kColumns) return "";
  std::vector<std::int64_t> columns(kColumns, 0);
  for (std::size_t i = 0; i < curve.size(); ++i) {
    std::int64_t& column = columns[i * kColumns / curve.size()];
    column = std::max(column, curve[i]);
  }
  const auto [low, high] = std::minmax_element(columns.begin(), columns.end());
  std::string text = " ";
  for (const std::int64_t column : columns)
    text += kHeights[(column - *low) * 7 / std::max<std::int64_t>(*high - *low, 1)];
  return text;
}

}  // namespace

Progress::Progress(std::int64_t steps, const ProgressOptions& options, SourceLocation where)
    : options_(options),
      terminal_(options.terminal.value_or(options.out != nullptr && isatty(fileno(options.out)) == 1)),
      steps_(steps),
      every_(std::max<std::int64_t>(1, (steps + kPlainLines - 1) / kPlainLines)),
      start_(options.now()),
      measured_(start_) {
  const auto require = [&](bool holds, const std::string& message) {
    if (!holds) throw Error("[progress] " + message + " (at " + to_string(where) + ")");
  };
  require(steps >= 0, "the number of steps must be at least 0, but is " + std::to_string(steps));
  require(options.out != nullptr, ".out is null");
  require(options.width >= 0, ".width must be at least 0, but is " + std::to_string(options.width));
}

// The first update has the time in it that the first step is planned in, and does not count once there is another.
void Progress::measure(std::int64_t step, Time now) {
  if (step > before_) {
    if (updates_ == 1) step_seconds_.reset();
    const auto steps = static_cast<double>(step - before_);
    step_seconds_.update(std::chrono::duration<double>(now - measured_).count() / steps, step - before_);
    ++updates_;
  }
  before_ = step;
  measured_ = now;
}

bool Progress::due(std::int64_t step, Time now) const {
  if (!shown_ || (steps_ > 0 && step == steps_)) return true;
  if (terminal_) return now - *shown_ >= kRedraw;
  return steps_ > 0 ? step / every_ > shown_step_ / every_ : now - *shown_ >= kPlainPause;
}

std::string Progress::line(std::int64_t step, std::span<const Field> fields, Time now) const {
  std::string text = "step " + std::to_string(step);
  if (steps_ > 0) text += "/" + std::to_string(steps_);
  for (const Field& field : fields) {
    text += "  " + core::printable_name(field.name) + " ";
    text += std::visit([](const auto& value) { return to_text(value); }, field.value.any());
  }
  const double seconds = step_seconds_.value();
  if (seconds > 0)
    text += format("  %.1f ", options_.units_per_step / seconds) + core::printable_name(options_.unit) + "/s";
  if (steps_ > 0 && step >= steps_) {
    text += "  in " + duration(std::chrono::duration<double>(now - start_).count());
  } else if (steps_ > 0 && seconds > 0) {
    text += "  eta " + duration(seconds * static_cast<double>(steps_ - step));
  }
  if (options_.session != nullptr) {
    const Report report = options_.session->report();
    text +=
        terminal_ ? "  live " + format_bytes(report.live_bytes) : "  peak " + format_bytes(report.last_step.peak_bytes);
    if (report.budget) text += " of " + format_bytes(*report.budget);
    if (terminal_) text += sparkline(report.last_step.live_curve);
  }
  return text;
}

void Progress::draw(std::int64_t step, const std::string& line) {
  // The last column stays free: some terminals begin a new line behind it.
  const auto room = static_cast<std::size_t>(options_.width > 0 ? options_.width : terminal_width(options_.out)) - 1;
  std::string text;
  if (steps_ > 0 && room >= loop::columns(line) + kBarWidth + 3) {
    const double part = static_cast<double>(std::clamp<std::int64_t>(step, 0, steps_)) / static_cast<double>(steps_);
    const auto filled = static_cast<std::size_t>(part * kBarWidth);
    text.append("[").append(filled, '#').append(kBarWidth - filled, '.').append("] ");
  }
  text += line;
  text = loop::cut(text, room);
  const std::size_t columns = loop::columns(text);
  // Blanks over what the longer line before left.
  if (columns < drawn_) text.append(std::min(drawn_, room) - std::min(columns, room), ' ');
  drawn_ = columns;
  put(options_.out, "\r" + text);
}

void Progress::update(std::int64_t step, std::span<const Field> fields) {
  const Time now = options_.now();
  measure(step, now);
  if (!due(step, now)) return;
  shown_ = now;
  shown_step_ = step;
  const std::string text = line(step, fields, now);
  if (terminal_) {
    draw(step, text);
  } else {
    put(options_.out, text + "\n");
  }
}

void Progress::finish() {
  if (drawn_ > 0) put(options_.out, "\n");
  drawn_ = 0;
}

}  // namespace tidemark
