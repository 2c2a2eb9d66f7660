#!/usr/bin/python3
"""Seconds that a training step of one of Tidemark's built-in models takes in eager PyTorch, or its bytes.

Same layers, sizes, batch, loss and optimizer as `tidemark train`; the batch stays in memory, so no loading is timed.
The script executes itself again in the environment in which PyTorch 1.13 is fastest on a CPU:

- glibc's malloc keeps large blocks in place of giving their pages back after each step, which would otherwise be a
  third of a step in page faults;
- threads are bound to cores, one each;
- OpenBLAS takes its AVX-512 kernels where the processor has the instructions, also where it does not know the
  processor's name.

Prints one line: the median of the steps after the warm-up, in seconds. With --memory it prints bytes in its place: the
most that the process has resident in a step, less what it had after it had loaded PyTorch; malloc gives large blocks
back at once then, so that what is resident is what is used.

--checkpoint block makes each block (of a gpt, of convolutions up to a pooling, of a linear layer) a region of
torch.utils.checkpoint; sqrt makes as many regions as the root of the number of layers, or of a gpt's blocks.
"""
import argparse
import math
import os
import statistics
import sys
import time

# Blocks of more than 64 KiB are pages of their own, which go back when they are freed.
EXACT_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 16), "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}

AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def fast_environment(threads):
    environment = {
        "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
        "MALLOC_TOP_PAD_": str(1 << 26),
        "OMP_NUM_THREADS": str(threads),
        "OMP_PROC_BIND": "close",
        "OMP_PLACES": "cores",
    }
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        flags = next((line for line in file if line.startswith("flags")), "")
    if AVX512 <= set(flags.split()):
        environment["OPENBLAS_CORETYPE"] = "SkylakeX"
    return environment


def parse():
    parser = argparse.ArgumentParser(description="Times a training step in eager PyTorch.")
    parser.add_argument("--model", choices=["mlp", "vgg16", "gpt"], required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--image", type=int, default=32)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--width", type=int, default=0, help="mlp [256], vgg16 [64], gpt [128]")
    parser.add_argument("--layers", type=int, default=0, help="mlp [2], gpt [4]")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=256)
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2, help="steps before the timed ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", choices=["none", "block", "sqrt"], default="none")
    parser.add_argument("--memory", action="store_true")
    return parser.parse_args()


def in_regions(layers, options, x):
    """The layers one after the other, in checkpointed regions where that is asked for."""
    from torch import nn
    from torch.utils.checkpoint import checkpoint

    if options.checkpoint == "none":
        regions = []
    elif options.checkpoint == "sqrt":
        size = math.ceil(len(layers) / max(1, round(math.sqrt(len(layers)))))
        regions = [layers[at:at + size] for at in range(0, len(layers), size)]
    else:
        regions = [[]]
        for layer in layers:
            ends = isinstance(layer, nn.MaxPool2d) or not isinstance(layer, (nn.Flatten, nn.ReLU, nn.Dropout, nn.Conv2d, nn.BatchNorm2d))
            regions[-1].append(layer)
            if ends:
                regions.append([])
    if not regions:
        for layer in layers:
            x = layer(x)
        return x
    for region in regions:
        if region:
            x = checkpoint(nn.Sequential(*region), x, use_reentrant=False)
    return x


def mlp(options):
    from torch import nn

    sizes = [3 * options.image**2] + [options.width or 256] * (options.layers or 2) + [options.classes]
    layers = [nn.Flatten()]
    for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
        if i > 0:
            layers.append(nn.ReLU())
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def vgg16(options):
    from torch import nn

    width = options.width or 64
    layers = []
    channels, side = 3, options.image
    for count, widths in ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, widths * width, 3, padding=1, bias=not options.batch_norm))
            channels = widths * width
            if options.batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
        if side >= 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    layers.append(nn.Flatten())
    inputs = channels * side**2
    for _ in range(2):
        layers += [nn.Linear(inputs, 64 * width), nn.ReLU(inplace=True), nn.Dropout(options.dropout)]
        inputs = 64 * width
    layers.append(nn.Linear(inputs, options.classes))
    return nn.Sequential(*layers)


def gpt(options):
    import torch
    from torch import nn
    from torch.nn import functional

    width = options.width or 128

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.dropout = nn.Dropout(options.dropout)

        def attend(self, x):
            batch, tokens, _ = x.shape
            heads = (batch, tokens, options.heads, width // options.heads)
            q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(x).split(width, dim=2))
            scores = q @ k.transpose(2, 3) / math.sqrt(width // options.heads)
            scores = scores.masked_fill(self.future[:tokens, :tokens], -math.inf)
            return (functional.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, width)

        def forward(self, x):
            x = x + self.dropout(self.projection(self.attend(self.norm1(x))))
            hidden = functional.gelu(self.up(self.norm2(x)), approximate="tanh")
            return x + self.dropout(self.down(hidden))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(options.vocabulary, width)
            self.positions = nn.Embedding(options.context, width)
            self.dropout = nn.Dropout(options.dropout)
            self.blocks = nn.ModuleList(Block() for _ in range(options.layers or 4))
            self.norm = nn.LayerNorm(width)

        def forward(self, tokens):
            x = self.dropout(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])
            x = in_regions(list(self.blocks), options, x)
            return functional.linear(self.norm(x), self.tokens.weight)

    Block.future = torch.ones(options.context, options.context).triu(1).bool()
    model = Gpt()
    for layer in model.modules():
        # As Tidemark's. PyTorch's own embeddings are 50 times as large, and the gradients of such a softmax are denormal
        # numbers, which take the processor ten times as long.
        if isinstance(layer, (nn.Linear, nn.Embedding)):
            nn.init.normal_(layer.weight, std=0.02)
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return model


def batch_of(options):
    import torch

    if options.model == "gpt":
        tokens = torch.randint(options.vocabulary, (options.batch, options.context + 1))
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    images = torch.rand(options.batch, 3, options.image, options.image)
    return images, torch.randint(options.classes, (options.batch,))


def optimizer_of(options, parameters):
    import torch

    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=3e-4, weight_decay=options.weight_decay)
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=options.weight_decay)


def resident(what):
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))


def warn_of_slow_blas():
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        libraries = {line.split()[-1] for line in file if "blas" in line}
    if libraries and not any("openblas-openmp" in library for library in libraries):
        print(f"torch_peer: matrix products run in {', '.join(sorted(libraries))}; "
              "`apt-get install libopenblas0-openmp` makes PyTorch faster", file=sys.stderr)


def main():
    options = parse()
    environment = fast_environment(options.threads) | (EXACT_MALLOC if options.memory else {})
    missing = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | missing)
    try:
        import torch
    except ImportError:
        sys.exit("torch_peer: PyTorch is missing; `apt-get install python3-torch libopenblas0-openmp` installs it")
    from torch.nn import functional

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    loaded = resident("VmRSS")
    model = {"mlp": mlp, "vgg16": vgg16, "gpt": gpt}[options.model](options)
    optimizer = optimizer_of(options, model.parameters())
    x, y = batch_of(options)
    forward = model if options.model == "gpt" else lambda images: in_regions(list(model), options, images)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(forward(x).flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()
        loss.item()

    if options.memory:
        for _ in range(options.warm_up):
            step()
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the highest mark starts again
        step()
        print(resident("VmHWM") - loaded)
        return
    seconds = []
    for _ in range(options.warm_up + options.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    warn_of_slow_blas()
    print(f"{statistics.median(seconds[options.warm_up:]):.6f}")


if __name__ == "__main__":
    main()
