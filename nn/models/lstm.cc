#include "nn/models/table.h"

namespace tidemark::nn {
namespace {

// tokens (i32) [N, T] -> [N, T, vocabulary].
class LstmLanguage : public Module {
 public:
  LstmLanguage(std::int64_t vocabulary, const RecurrentOptions& options, SourceLocation where)
      : tokens_({.count = vocabulary, .width = options.input}, where),
        dropout_({.p = options.dropout}, where),
        lstm_(options, where),
        head_({.in = options.hidden, .out = vocabulary}, where) {}

  void visit(Visitor& visitor) override {
    visitor.child("tokens", tokens_);
    visitor.child("dropout", dropout_);
    visitor.child("lstm", lstm_);
    visitor.child("head", head_);
  }

  Tensor operator()(const Tensor& tokens, SourceLocation where = SourceLocation::current()) const {
    require(tokens.shape(where).rank() == 2, "lstm",
            "tokens must be [N, T], but are " + tokens.shape(where).to_string(), where);
    const Tensor x = dropout_(tokens_(tokens, where), where);
    return head_(dropout_(lstm_(x, {}, {}, where).output, where), where);
  }

 private:
  Embedding tokens_;
  Dropout dropout_;
  LSTM lstm_;
  Linear head_;
};

}  // namespace

NamedModel lstm_model() {
  return {.name = "lstm",
          .summary = "a language model of LSTM layers",
          .reads_tokens = true,
          .options = {NamedOption::whole("width", 128, 1, 1 << 20, "of a token, and hidden units"),
                      NamedOption::whole("layers", 2, 1, 10000, "one above the other"),
                      NamedOption::number("dropout", 0.1, 0, 0.99, "probability")},
          .make = [](const NamedValues& values, const Examples& examples, SourceLocation where) {
            return Sequential(LstmLanguage(examples.classes,
                                           {.input = values.whole("width"),
                                            .hidden = values.whole("width"),
                                            .layers = static_cast<int>(values.whole("layers")),
                                            .batch_first = true,
                                            .dropout = values.number("dropout")},
                                           where));
          }};
}

}  // namespace tidemark::nn
