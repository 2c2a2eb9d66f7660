#!/usr/bin/env python3
"""Weights that PyTorch made, under the names of HuggingFace's GPT-2 and torchvision's VGG-16, in our models.

The logits are those of an f64 run within 1e-5 of the largest, and PyTorch reads what we write back, bit for bit.
    foreign_weights.py PROGRAM [--full]     --full: the sizes that people use, some GB of memory
Ends with 77 where PyTorch is missing.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
except ImportError:
    print("skipped: python3-torch is missing")
    sys.exit(77)

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}
TOLERANCE = 1e-5


def write(path, tensors):
    header, at = {}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.dim() else
                       tensor.numpy().tobytes())


def read(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    kinds = {text: dtype for dtype, text in DTYPES.items()}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def norm(x, weights, name):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weights[name + ".weight"], weights[name + ".bias"])


def gpt2_logits(weights, tokens, layers, start):
    """GPT-2's forward in the type of the weights; projections are x W + b."""
    w = {name[len(start):]: tensor for name, tensor in weights.items() if name.startswith(start)}
    project = lambda x, name: x @ w[name + ".weight"] + w[name + ".bias"]
    n, t = tokens.shape
    x = w["wte.weight"][tokens] + w["wpe.weight"][:t]
    mask = torch.tril(torch.ones(t, t, dtype=torch.bool))
    for i in range(layers):
        block = f"h.{i}."
        q, k, v = project(norm(x, w, block + "ln_1"), block + "attn.c_attn").chunk(3, dim=-1)
        heads = lambda y: y.reshape(n, t, -1, 64).transpose(1, 2)
        scores = heads(q) @ heads(k).transpose(-1, -2) / 8
        seen = torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ heads(v)
        x = x + project(seen.transpose(1, 2).reshape(n, t, -1), block + "attn.c_proj")
        hidden = project(norm(x, w, block + "ln_2"), block + "mlp.c_fc")
        # The approximation by tanh, which torch 1.13 has for f64, too.
        x = x + project(torch.nn.functional.gelu(hidden, approximate="tanh"), block + "mlp.c_proj")
    return norm(x, w, "ln_f") @ w["wte.weight"].T


def gpt2_weights(layers, width, vocabulary, context, start, head):
    normal = lambda *shape, std=0.02: torch.randn(*shape) * std
    w = {"wte.weight": normal(vocabulary, width), "wpe.weight": normal(context, width)}
    for i in range(layers):
        b = f"h.{i}."
        for part in ("ln_1", "ln_2"):
            w[b + part + ".weight"] = 1 + normal(width, std=0.1)
            w[b + part + ".bias"] = normal(width)
        for part, rows, columns in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                    ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):
            w[b + part + ".weight"] = normal(rows, columns)
            w[b + part + ".bias"] = normal(columns)
        w[b + "attn.bias"] = torch.tril(torch.ones(context, context)).reshape(1, 1, context, context).bool()
        w[b + "attn.masked_bias"] = torch.tensor(-1e4)
    w["ln_f.weight"], w["ln_f.bias"] = 1 + normal(width, std=0.1), normal(width)
    w = {start + name: tensor for name, tensor in w.items()}
    if head:
        w["lm_head.weight"] = w[start + "wte.weight"]
    return w


class Vgg(torch.nn.Module):
    """torchvision's VGG-16, with its names."""

    def __init__(self, width, classes, batch_norm):
        super().__init__()
        layers, channels = [], 3
        for size, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(count):
                layers.append(torch.nn.Conv2d(channels, size * width, 3, padding=1, bias=not batch_norm))
                if batch_norm:
                    layers.append(torch.nn.BatchNorm2d(size * width))
                layers.append(torch.nn.ReLU())
                channels = size * width
            layers.append(torch.nn.MaxPool2d(2))
        self.features = torch.nn.Sequential(*layers)
        hidden = 64 * width
        self.classifier = torch.nn.Sequential(
            torch.nn.Linear(channels * 49, hidden), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(hidden, hidden),
            torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(hidden, classes))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def run(program, model, weights, data, expected, ignored=()):
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        write(path("weights.safetensors"), weights)
        numpy.save(path("input.npy"), data)
        subprocess.run([program, model, path("weights.safetensors"), path("input.npy"), path("logits.npy"),
                        path("back.safetensors")], check=True)
        logits = torch.from_numpy(numpy.load(path("logits.npy"))).double()
        back = read(path("back.safetensors"))
    error = ((logits - expected).abs().max() / expected.abs().max()).item()
    names = {name for name in weights if not name.endswith(tuple(ignored))}
    assert set(back) == names, f"{model}: written back: {sorted(set(back) ^ names)}"
    for name in names:
        assert back[name].dtype == weights[name].dtype and torch.equal(back[name], weights[name]), f"{model}: {name}"
    print(f"{model}: {sum(w.numel() for w in weights.values()) / 1e6:.1f} million numbers, logits within {error:.1e} of "
          "the largest, all weights read back")
    assert error <= TOLERANCE, f"{model}: logits differ by {error:.2e} of the largest"


def run_bare(program, weights, tokens):
    """Files of the bare model are read too, here with f16; we write the names of the whole one."""
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        half = {n: w.half() if w.dtype == torch.float32 and w.dim() == 2 else w for n, w in weights.items()}
        write(path("half.safetensors"), half)
        numpy.save(path("input.npy"), tokens.int().numpy())
        subprocess.run([program, "gpt2", path("half.safetensors"), path("input.npy"), path("logits.npy"),
                        path("back.safetensors")], check=True)
        back = read(path("back.safetensors"))
    for name, tensor in half.items():
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        assert torch.equal(back["transformer." + name], tensor.float()), name
    print("gpt2: matrices in f16 under the names of the bare model are read exactly")


def main():
    program, full = sys.argv[1], "--full" in sys.argv
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    sizes = (12, 768, 50257, 1024) if full else (2, 128, 300, 48)
    for start, head in (("transformer.", True), ("", False)):
        weights = gpt2_weights(*sizes, start, head)
        tokens = torch.randint(sizes[2], (2, 40))
        if head:
            expected = gpt2_logits({n: w.double() for n, w in weights.items()}, tokens, sizes[0], start)
            ignored = (".attn.bias", ".attn.masked_bias", "lm_head.weight")
            run(program, "gpt2", weights, tokens.int().numpy(), expected, ignored)
        else:
            run_bare(program, weights, tokens)
    for batch_norm in (False, True):
        model = Vgg(64 if full else 4, 1000 if full else 10, batch_norm).eval()
        for layer in model.features:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
                layer.num_batches_tracked.fill_(41)
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        x = torch.randn(1, 3, 224, 224)
        run(program, "vgg16-bn" if batch_norm else "vgg16", weights, x.numpy(), model.double()(x.double()))


main()
