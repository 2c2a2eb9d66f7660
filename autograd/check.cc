#include "autograd/check.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <typeinfo>

#include "absl/strings/str_cat.h"
#include "compute/sparse_rows.h"

namespace tidemark::detail {
namespace {

// One answer of prepare(). Its functions throw an Error that says what is wrong with it.
class Declaration {
 public:
  Declaration(const compute::Machine& machine, std::string_view op, const Prepared& prepared, std::span<const Meta> in,
              SourceLocation where)
      : machine_(machine), op_(op), prepared_(prepared), in_(in), where_(where) {}

  void check() const {
    const Prepared& p = prepared_;
    for (std::size_t j = 0; j < p.outputs.size(); ++j) check_meta(p.outputs[j], absl::StrCat("outputs[", j, "]"));
    const auto outputs = static_cast<int>(p.outputs.size());
    require(p.visible >= -1 && p.visible <= outputs, "visible = ", p.visible, ", and has ", outputs, " outputs");
    require(outputs > 0 || !p.updates.empty(), "no outputs and no updates");
    for (std::size_t i = 0; i < std::min(p.input_layouts.size(), in_.size()); ++i) {
      check_layout(p.input_layouts[i], in_[i]);
    }
    check_effort("", p.scratch, p.work);
    for (const auto& [input, output] : p.overwrites) {
      check_index("overwrites", input, in_.size(), "inputs");
      check_index("overwrites", output, p.outputs.size(), "outputs");
    }
    check_updates();
    if (p.view_of) check_view();
    for (std::size_t k = 0; k < p.parts.size(); ++k) check_part(p.parts[k], absl::StrCat("parts[", k, "]."));
  }

 private:
  template <class... Text>
  void require(bool holds, const Text&... text) const {
    if (holds) return;
    throw Error(absl::StrCat("[", std::string(op_), "] prepare() declares ", text..., " (at ", to_string(where_), ")"));
  }

  void check_index(const std::string& list, int index, std::size_t count, const char* what) const {
    require(index >= 0 && static_cast<std::size_t>(index) < count, list, " with index ", index, ", and there are ",
            count, " ", what);
  }

  void check_meta(const Meta& meta, const std::string& what) const {
    std::int64_t bytes = 0;
    if (compute::is_sparse_rows(meta.layout)) {
      const std::int64_t bound = compute::row_bound(meta.layout);
      require(meta.shape.rank() == 2 && bound <= meta.shape[0], what, " with ", bound, " rows of ",
              meta.shape.to_string());
      bytes = compute::sparse_rows(meta.shape, bound).bytes;
    } else {
      bytes = meta.layout.plain() ? Meta::plain(meta.shape, meta.dtype).bytes
                                  : static_cast<std::int64_t>(machine_.desc(meta).get_size());
    }
    require(meta.bytes == bytes, what, " of ", meta.bytes, " bytes, and shape ", meta.shape.to_string(), " and dtype ",
            to_string(meta.dtype), " take ", bytes);
  }

  // Throws where no kernel made the layout, or made it for another rank.
  void check_layout(const std::optional<Layout>& layout, const Meta& meta) const {
    if (layout && !layout->plain()) (void)machine_.desc({meta.shape, meta.dtype, *layout, 0});
  }

  void check_effort(const std::string& of, std::int64_t scratch, const Work& work) const {
    require(scratch >= 0 && scratch <= kMaxBytes, of, "scratch = ", scratch, ", which must be 0 to ", kMaxBytes);
    require(std::isfinite(work.flops) && work.flops >= 0 && std::isfinite(work.bytes) && work.bytes >= 0, of,
            "work of ", work.flops, " flops and ", work.bytes, " bytes");
  }

  void check_updates() const {
    for (int input : prepared_.updates) {
      check_index("updates", input, in_.size(), "inputs");
      const auto i = static_cast<std::size_t>(input);
      const bool as_it_lies = i >= prepared_.input_layouts.size() || !prepared_.input_layouts[i] ||
                              *prepared_.input_layouts[i] == in_[i].layout;
      require(as_it_lies, "updates of input ", input, " in another layout than it has, which would change a copy");
    }
  }

  void check_view() const {
    const Prepared& p = prepared_;
    check_index("view_of", *p.view_of, in_.size(), "inputs");
    require(p.outputs.size() == 1 && p.visible != 0 && p.updates.empty(), "view_of with ", p.outputs.size(),
            " outputs, ", p.visible, " visible, and ", p.updates.size(), " updates; a view has one output, no updates");
    const auto i = static_cast<std::size_t>(*p.view_of);
    const bool asked = i < p.input_layouts.size() && p.input_layouts[i];
    require((asked ? *p.input_layouts[i] : in_[i].layout).plain() && p.outputs[0].layout.plain(), "view_of = ", i,
            " without plain layouts of input and output");
    const std::int64_t bytes = Meta::plain(in_[i].shape, in_[i].dtype).bytes;
    require(p.view_offset >= 0 && p.view_offset % size_of(p.outputs[0].dtype) == 0 &&
                p.view_offset <= bytes - p.outputs[0].bytes,
            "view_offset = ", p.view_offset, " for ", p.outputs[0].bytes, " of ", bytes, " bytes");
  }

  void check_part(const Part& part, const std::string& of) const {
    const std::vector<Meta>& outputs = prepared_.outputs;
    require(!part.inputs.empty() && part.inputs.size() == part.gx.size(), of, "inputs of ", part.inputs.size(), " and ",
            of, "gx of ", part.gx.size(), "; each input needs its gradient's meta");
    for (std::size_t k = 0; k < part.gx.size(); ++k) {
      check_index(of + "inputs", part.inputs[k], in_.size(), "inputs");
      const Meta& input = in_[static_cast<std::size_t>(part.inputs[k])];
      const Meta& gx = part.gx[k];
      require(gx.shape == input.shape && gx.dtype == f32 && input.dtype == f32, of, "gx[", k, "] of shape ",
              gx.shape.to_string(), " and dtype ", to_string(gx.dtype), " for an input of ", input.shape.to_string(),
              " and ", to_string(input.dtype), "; both must be f32 of one shape");
      check_meta(gx, absl::StrCat(of, "gx[", k, "]"));
    }
    for (const Saved& saved : part.saved) {
      const bool output = saved.of == Saved::Of::kOutput;
      check_index(of + "saved", saved.index, output ? outputs.size() : in_.size(), output ? "outputs" : "inputs");
      const auto i = static_cast<std::size_t>(saved.index);
      check_layout(saved.layout, output ? outputs[i] : in_[i]);
    }
    const std::size_t visible = prepared_.visible < 0 ? outputs.size() : static_cast<std::size_t>(prepared_.visible);
    for (const GradOf& gy : part.gy) {
      check_index(of + "gy", gy.output, visible, "visible outputs");
      const Meta& y = outputs[static_cast<std::size_t>(gy.output)];
      require(y.dtype == f32, of, "gy of output ", gy.output, ", which is ", to_string(y.dtype), " and not f32");
      check_layout(gy.layout, y);
    }
    check_effort(of, part.scratch, part.work);
    for (const auto& [read, k] : part.overwrites) {
      check_index(of + "overwrites", read, part.saved.size() + part.gy.size(), "operands");
      check_index(of + "overwrites", k, part.gx.size(), "gradients");
    }
    if (!part.view) return;
    require(part.gx.size() == 1 && part.gy.size() == 1, of, "view with ", part.gx.size(), " gx and ", part.gy.size(),
            " gy; it has one of each");
    const Meta& y = outputs[static_cast<std::size_t>(part.gy[0].output)];
    require(part.gx[0].layout.plain() && part.gy[0].layout && part.gy[0].layout->plain() &&
                part.gx[0].bytes == Meta::plain(y.shape, y.dtype).bytes,
            of, "view without plain layouts and equal bytes of gx and gy");
  }

  const compute::Machine& machine_;
  std::string_view op_;
  const Prepared& prepared_;
  std::span<const Meta> in_;
  SourceLocation where_;
};

}  // namespace

void rethrow_at(std::string_view op, SourceLocation where) {
  const std::string place = absl::StrCat(" (at ", to_string(where), ")");
  const std::string name = absl::StrCat("[", std::string(op), "] ");
  try {
    throw;
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw Error(absl::StrCat(name, "oneDNN refuses it: ", error.what(), place));
  } catch (const Error& error) {
    std::string text = error.what();
    if (text.find(to_string(where)) != std::string::npos) throw;
    text = absl::StrCat(text.starts_with('[') ? "" : name, text, place);
    // Types of their own stay as they are.
    if (typeid(error) == typeid(ShapeError)) throw ShapeError(text);
    if (typeid(error) == typeid(FileError)) throw FileError(text);
    if (typeid(error) == typeid(Error)) throw Error(text);
    throw;
  } catch (const std::exception&) {
    throw;
  } catch (...) {
    throw Error(absl::StrCat(name, "it threw something that is no std::exception", place));
  }
}

Meta plain_meta(std::string_view what, const Shape& shape, DType dtype, SourceLocation where) {
  try {
    return Meta::plain(shape, dtype);
  } catch (const Error&) {
    rethrow_at(what, where);
  }
}

void check_prepared(const compute::Machine& machine, std::string_view op, const Prepared& prepared,
                    std::span<const Meta> in, SourceLocation where) {
  Declaration(machine, op, prepared, in, where).check();
}

}  // namespace tidemark::detail
