#!/usr/bin/python3
"""Times the rows of op_bench and the same calls in eager PyTorch, in turns, and prints medians side by side.

    bench/op_peer.py [--rounds N] [--threads N] [--seconds S] [--bench FILE] [OP]...

Both sides have the same shapes, attributes and threads, and values of the same kind. Columns: milliseconds of ours and of
PyTorch's and their ratio (below 1: ours is faster), for the forward pass and for all gradients together; GB/s and
GFLOP/s that our forward pass reaches by what the op declares as its work, in per cent of the machine's own rates
(triad, and multiplications and additions in registers), measured in the same run. The last line sums up.

PyTorch runs in the environment that torch_peer.py describes. Ours times kernels alone, as the tape calls them; reorders
into layouts that a kernel wants are calls of their own there, and PyTorch's operators make theirs inside.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "report"))
import torch_peer  # noqa: E402


def parse():
    parser = argparse.ArgumentParser(description="Compares op_bench's rows with PyTorch's.")
    parser.add_argument("ops", nargs="*", help="names of ops [all]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.05, help="time of each measurement")
    parser.add_argument("--bench", default=os.path.join(ROOT, "build/release/bench/op_bench"))
    return parser.parse_args()


def number(text):
    """Attributes print floats in hexadecimal where they are not whole."""
    if text.startswith("[") or text in ("inf", "-inf"):
        return float(text) if text[-1] == "f" else json.loads(text)
    return float.fromhex(text) if "0x" in text else int(text)


def attributes_of(text):
    found = {}
    depth = 0
    start = 0
    for at, letter in enumerate(text + ","):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            name, sign, value = text[start:at].strip().partition("=")
            if sign:
                found[name] = number(value)
            start = at + 1
    return found


def operand(torch, text):
    words = text.split()
    sizes = []
    for word in words[1:]:
        if not word.isdigit():
            break
        sizes.append(int(word))
    below = int(words[words.index("below") + 1]) if "below" in words else 0
    if words[0] == "f32":
        value = torch.randn(sizes)
        if below:
            value = torch.rand(sizes) * below
        if "positive" in words:
            value = value.abs() + 1
        return value.requires_grad_("fixed" not in words)
    if words[0] == "u8":
        return torch.randint(0, max(below, 1), sizes).bool() if below == 2 else torch.randint(0, below, sizes).byte()
    return torch.randint(0, max(below, 1), sizes)


def dims_of(a):
    """Bit sets of dimensions, as reductions keep them: bit d is dimension d."""
    return None if a.get("all") else [d for d in range(8) if int(a["dims"]) >> d & 1]


def peers(torch):
    """Op name -> f(attributes, *operands)."""
    F = torch.nn.functional
    reductions = ["mean", "sum", "none", "batchmean"]

    def reduced(f):
        return lambda a, x: f(x) if a["all"] else f(x, dim=dims_of(a), keepdim=bool(a["keepdim"]))

    def spread(f):
        def call(a, x):
            dims = dims_of(a) or list(range(x.dim()))
            return f(x, dim=dims, unbiased=a["correction"] != 0, keepdim=bool(a["keepdim"]))

        return call

    def logical_reduction(f):
        return lambda a, x: f(x) if a["all"] else f(x, dim=dims_of(a)[0])

    def loss(f, **names):
        def call(a, *operands):
            more = {name: a[ours] for name, ours in names.items()}
            return f(*operands, reduction=reductions[a["reduction"]], **more)

        return call

    def norm(a, x):
        return torch.linalg.vector_norm(x, a["p"], dim=dims_of(a), keepdim=bool(a["keepdim"]))

    def attention(a, q, k, v):
        weights = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if a.get("causal"):
            mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
            weights = weights.masked_fill(mask, float("-inf"))
        return F.dropout(weights.softmax(-1), a.get("dropout_p", 0)) @ v

    def causal_self_attention(a, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, a["heads"], -1).transpose(1, 2) for part in x.chunk(3, -1))
        return attention({"causal": 1}, q, k, v).transpose(1, 2).reshape(batch, length, width // 3)

    def rotary(a, x):
        length, size = x.shape[-2:]
        angles = torch.arange(length)[:, None] * a["base"] ** (-torch.arange(0, size, 2) / size)
        cos, sin = angles.cos(), angles.sin()
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)

    def lstm_gates(a, products, c):
        i, f, g, o = products.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return torch.stack([o.sigmoid() * c.tanh(), c])

    def gru_gates(a, products, h):
        r, z, inner, hidden = products.chunk(4, 1)
        n = (inner + r.sigmoid() * hidden).tanh()
        z = z.sigmoid()
        return (1 - z) * n + z * h

    def multi_margin(a, x, y):
        return F.multi_margin_loss(x, y, p=a["p"], margin=a["margin"], reduction=reductions[a["reduction"]])

    def conv2d(a, x, w, bias=None):
        return F.conv2d(x, w, bias, (a["stride_h"], a["stride_w"]), (a["padding_h"], a["padding_w"]),
                        (a["dilation_h"], a["dilation_w"]), a["groups"])

    def conv_transpose2d(a, x, w, bias=None):
        return F.conv_transpose2d(x, w, bias, (a["stride_h"], a["stride_w"]), (a["padding_h"], a["padding_w"]),
                                  (a["output_padding_h"], a["output_padding_w"]), a["groups"],
                                  (a["dilation_h"], a["dilation_w"]))

    def window(a, name):
        return a[name + "_h"], a[name + "_w"]

    def max_pool(a, x):
        kernel = window(a, "kernel")
        stride = window(a, "stride") if a["stride_h"] else kernel
        dilation = window(a, "dilation") if "dilation_h" in a else 1
        return F.max_pool2d(x, kernel, stride, window(a, "padding"), dilation, bool(a["ceil"]))

    def avg_pool(a, x):
        kernel = window(a, "kernel")
        stride = window(a, "stride") if a["stride_h"] else kernel
        return F.avg_pool2d(x, kernel, stride, window(a, "padding"), bool(a["ceil"]), bool(a["count_padding"]),
                            a["divisor"] or None)

    def upsample(a, x):
        if a["bilinear"]:
            return F.interpolate(x, (a["height"], a["width"]), mode="bilinear", align_corners=bool(a["align_corners"]))
        return F.interpolate(x, (a["height"], a["width"]), mode="nearest")

    def pad(a, x):
        modes = ["constant", "reflect", "replicate", "circular"]
        sides = []
        for before, after in zip(reversed(a["before"]), reversed(a["after"])):
            sides += [before, after]
        if modes[a["mode"]] == "constant":
            return F.pad(x, sides, value=a["value"])
        return F.pad(x[None, None], sides, mode=modes[a["mode"]])[0, 0]

    def matmul(a, x, y):
        return torch.matmul(x.transpose(-1, -2) if a["transpose_a"] else x, y.transpose(-1, -2) if a["transpose_b"] else y)

    def windows(f):
        return lambda a, x: f(x, window(a, "kernel"), window(a, "dilation"), window(a, "padding"), window(a, "stride"))

    plain = {
        name: (lambda f: lambda a, *x: f(*x))(getattr(torch, name))
        for name in """abs ceil cos erf exp expm1 floor log log1p log2 neg reciprocal relu round rsqrt selu sigmoid sign sin
                       sqrt square tanh trunc isfinite isinf isnan add sub mul div pow maximum minimum eq ne lt le gt ge
                       logical_and logical_or logical_xor logical_not dot where""".split()
    }
    return plain | {
        "affine": lambda a, x: x * a["scale"] + a["shift"],
        "div_by_number": lambda a, x: x / a["divisor"],
        "div_of_number": lambda a, x: a["dividend"] / x,
        "pow_by_number": lambda a, x: x ** a["exponent"],
        "pow_of_number": lambda a, x: a["base"] ** x,
        "gelu": lambda a, x: F.gelu(x),
        "gelu_tanh": lambda a, x: F.gelu(x, approximate="tanh"),
        "log_sigmoid": lambda a, x: F.logsigmoid(x),
        "silu": lambda a, x: F.silu(x),
        "mish": lambda a, x: F.mish(x),
        "softsign": lambda a, x: F.softsign(x),
        "softplus": lambda a, x: F.softplus(x, a["beta"], a["threshold"]),
        "relu6": lambda a, x: F.relu6(x),
        "hardsigmoid": lambda a, x: F.hardsigmoid(x),
        "hardswish": lambda a, x: F.hardswish(x),
        "hardtanh": lambda a, x: F.hardtanh(x, a["min"], a["max"]),
        "clamp": lambda a, x: torch.clamp(x, a["min"], a["max"]),
        "elu": lambda a, x: F.elu(x, a["alpha"]),
        "celu": lambda a, x: F.celu(x, a["alpha"]),
        "leaky_relu": lambda a, x: F.leaky_relu(x, a["slope"]),
        "prelu": lambda a, x, w: F.prelu(x, w.reshape(-1)),
        "glu": lambda a, x: F.glu(x, a["dim"]),
        "swiglu": lambda a, x: F.silu(x.chunk(2, a["dim"])[0]) * x.chunk(2, a["dim"])[1],
        "lerp": lambda a, x, y: torch.lerp(x, y, a["weight"]),
        "masked_fill": lambda a, m, x: torch.where(m, torch.tensor(float(a["a"])), x),
        "where": lambda a, m, x, y: torch.where(m, x, y),
        "to": lambda a, x: x.to([torch.float32, torch.float16, torch.int32, torch.uint8][a["dtype"]]),
        "sum": reduced(torch.sum),
        "mean": reduced(torch.mean),
        "amax": reduced(torch.amax),
        "amin": reduced(torch.amin),
        "max_of_all": lambda a, x: torch.max(x),
        "min_of_all": lambda a, x: torch.min(x),
        "logsumexp": reduced(torch.logsumexp),
        "prod": lambda a, x: torch.prod(x, dims_of(a)[0], bool(a["keepdim"])),
        "var": spread(torch.var),
        "std": spread(torch.std),
        "norm": norm,
        "any": logical_reduction(torch.any),
        "all": logical_reduction(torch.all),
        "count_nonzero": lambda a, x: torch.count_nonzero(x, dims_of(a)),
        "max": lambda a, x: torch.max(x, a["dim"])[0],
        "min": lambda a, x: torch.min(x, a["dim"])[0],
        "argmax": lambda a, x: torch.argmax(x, a["dim"]),
        "argmin": lambda a, x: torch.argmin(x, a["dim"]),
        "sort": lambda a, x: torch.sort(x, a["dim"], bool(a["descending"]))[0],
        "argsort": lambda a, x: torch.argsort(x, a["dim"], bool(a["descending"])),
        "topk": lambda a, x: torch.topk(x, a["k"], a["dim"], bool(a["largest"]))[0],
        "cumsum": lambda a, x: torch.cumsum(x, a["dim"]),
        "cumprod": lambda a, x: torch.cumprod(x, a["dim"]),
        "multinomial": lambda a, x: torch.multinomial(x, a["count"], bool(a["replacement"])),
        "softmax": lambda a, x: torch.softmax(x, a["dim"]),
        "log_softmax": lambda a, x: torch.log_softmax(x, a["dim"]),
        "cross_entropy": loss(F.cross_entropy, label_smoothing="label_smoothing", ignore_index="ignore_index"),
        "cross_entropy_of_probabilities": loss(F.cross_entropy, label_smoothing="label_smoothing"),
        "linear_cross_entropy": lambda a, x, y, w, b: F.cross_entropy(F.linear(x, w, b), y),
        "nll_loss": loss(F.nll_loss, ignore_index="ignore_index"),
        "multi_margin_loss": multi_margin,
        "mse_loss": loss(F.mse_loss),
        "l1_loss": loss(F.l1_loss),
        "smooth_l1_loss": loss(F.smooth_l1_loss, beta="beta"),
        "huber_loss": loss(F.huber_loss, delta="delta"),
        "poisson_nll_loss": lambda a, x, y: F.poisson_nll_loss(x, y, bool(a["log_input"]), bool(a["full"])),
        "gaussian_nll_loss": loss(F.gaussian_nll_loss),
        "kl_div": lambda a, x, y: F.kl_div(x, y, reduction="none").mean(),
        "kl_div_of_logarithms": lambda a, x, y: F.kl_div(x, y, reduction="none", log_target=True).mean(),
        "hinge_embedding_loss": loss(F.hinge_embedding_loss, margin="margin"),
        "margin_ranking_loss": loss(F.margin_ranking_loss, margin="margin"),
        "binary_cross_entropy": loss(F.binary_cross_entropy),
        "binary_cross_entropy_with_logits": loss(F.binary_cross_entropy_with_logits),
        "soft_margin_loss": loss(F.soft_margin_loss),
        "cosine_similarity": lambda a, x, y: F.cosine_similarity(x, y, dim=-1),
        "pairwise_distance": lambda a, x, y: F.pairwise_distance(x, y),
        "scaled_dot_product_attention": attention,
        "causal_self_attention": causal_self_attention,
        "rotary_embedding": rotary,
        "gate_products": lambda a, x, h, wx, wh, bx, bh: F.linear(x, wx, bx) + F.linear(h, wh, bh),
        "lstm_gates": lstm_gates,
        "gru_gates": gru_gates,
        "transpose": lambda a, x: x.transpose(a["a"], a["b"]).contiguous(),
        "permute": lambda a, x: x.permute(a["dims"]).contiguous(),
        "slice": lambda a, x: x.narrow(a["dim"], 0, x.shape[a["dim"]])[
            tuple([slice(None)] * (a["dim"] % x.dim()) + [slice(a["begin"], a["end"], a["step"])])].contiguous(),
        "concat": lambda a, *x: torch.cat(x, a["dim"]),
        "expand": lambda a, x: x.expand(a["shape"]).contiguous(),
        "flip": lambda a, x: x.flip(a["dims"]),
        "roll": lambda a, x: x.roll(a["shifts"], a["dims"]),
        "pad": pad,
        "tril": lambda a, x: x.tril(a["diagonal"]),
        "triu": lambda a, x: x.triu(a["diagonal"]),
        "gather": lambda a, x, i: x.gather(a["dim"], i),
        "scatter": lambda a, x, i, y: x.scatter(a["dim"], i, y),
        "scatter_add": lambda a, x, i, y: x.scatter_add(a["dim"], i, y),
        "index_select": lambda a, x, i: x.index_select(a["dim"], i),
        "index_add": lambda a, x, i, y: x.index_add(a["dim"], i, y),
        "one_hot": lambda a, x: F.one_hot(x, a["classes"]).float(),
        "unfold": windows(F.unfold),
        "fold": lambda a, x: F.fold(x, (a["height"], a["width"]), window(a, "kernel"), window(a, "dilation"),
                                    window(a, "padding"), window(a, "stride")),
        "linear": lambda a, x, w, b=None: F.linear(x, w, b),
        "matmul": matmul,
        "bilinear": lambda a, x, y, w, b=None: F.bilinear(x, y, w, b),
        "conv2d": conv2d,
        "conv_transpose2d": conv_transpose2d,
        "max_pool2d": max_pool,
        "max_windows": max_pool,
        "avg_pool2d": avg_pool,
        "adaptive_avg_pool2d": lambda a, x: F.adaptive_avg_pool2d(x, (a["height"], a["width"])),
        "upsample": upsample,
        "layer_norm": lambda a, x, w, b: F.layer_norm(x, x.shape[-1:], w, b, a["eps"]),
        "rms_norm": lambda a, x, w: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + a["eps"]) * w,
        "group_norm": lambda a, x, w, b: F.group_norm(x, a["groups"], w, b, a["eps"]),
        "batch_norm": lambda a, x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, a["eps"]),
        "dropout": lambda a, x: F.dropout(x, a["p"]),
        "dropout_rows": lambda a, x: F.dropout2d(x, a["p"]),
        "embedding": lambda a, i, w: F.embedding(i, w, sparse=bool(a["sparse"])),
        "embedding_bag": lambda a, i, w: F.embedding_bag(i, w, mode=["sum", "mean", "max"][a["mode"]]),
    }


def timed(call, seconds):
    """Seconds of one call, by the clock over many."""
    call()
    start = time.perf_counter()
    calls = 0
    while True:
        call()
        calls += 1
        passed = time.perf_counter() - start
        if passed >= seconds:
            return passed / calls


def theirs(torch, peer, label, seconds):
    attributes, *operands = label.split("|")
    a = attributes_of(attributes)
    inputs = [operand(torch, text) for text in operands]
    forward = timed(lambda: peer(a, *inputs), seconds)
    wanted = [x for x in inputs if x.requires_grad]
    y = peer(a, *inputs)
    if not wanted or not y.requires_grad:
        return forward, None
    gy = torch.ones_like(y)
    backward = timed(lambda: torch.autograd.grad(y, wanted, gy, retain_graph=True), seconds)
    return forward, backward


def ours(options, pattern):
    command = [options.bench, "--benchmark_format=json", f"--threads={options.threads}",
               f"--benchmark_min_time={options.seconds}", f"--benchmark_filter={pattern}"]
    # PyTorch's OpenMP has bound this process to one processor: ours starts with all of them, and binds its own threads.
    peers_own = torch_peer.fast_environment(options.threads)
    environment = {name: value for name, value in os.environ.items() if name not in peers_own}
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                         env=environment, preexec_fn=lambda: os.sched_setaffinity(0, options.processors)).stdout
    rows = {}
    for row in json.loads(out or '{"benchmarks": []}')["benchmarks"]:
        op, sample, *what = row["name"].removesuffix("/real_time").split("/")
        rows.setdefault((op, sample), {"label": row.get("label", "")})[what[0] if what else "row"] = row
    return rows


def names_of(options):
    listed = subprocess.run([options.bench, "--benchmark_list_tests"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(dict.fromkeys(line.split("/")[0] for line in listed.split("\n") if line and not line.startswith("machine")))


def milliseconds(rows, what):
    found = [row["real_time"] / 1e6 for name, row in rows.items() if name.startswith(what)]
    return sum(found) if found else None


def ratio_text(mine, other):
    if mine is None or other is None:
        return f"{mine:9.3f} {'':9} {'':6}" if mine is not None else f"{'':26}"
    return f"{mine:9.3f} {other:9.3f} {mine / other:6.2f}"


def main():
    options = parse()
    if os.environ.get("TIDEMARK_PEER") != "ready":
        environment = os.environ | torch_peer.fast_environment(options.threads) | {"TIDEMARK_PEER": "ready"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    options.processors = os.sched_getaffinity(0)
    import torch

    torch.set_num_threads(options.threads)
    machine = ours(options, "^machine/")
    triad = machine[("machine", "triad")]["row"]["bytes_per_second"]
    peak = machine[("machine", "peak")]["row"]["flop/s"]
    copy = machine[("machine", "copy")]["row"]["bytes_per_second"]
    print(f"machine: copy {copy / 1e9:.1f} GB/s, triad {triad / 1e9:.1f} GB/s, peak {peak / 1e9:.0f} GFLOP/s")
    print(f"{'op/sample':44} {'forward':>9} {'torch':>9} {'ratio':>6} {'backward':>9} {'torch':>9} {'ratio':>6} {'%triad':>6} {'%peak':>6}")
    calls = peers(torch)
    slower = []
    compared = 0
    for op in options.ops or names_of(options):
        rounds = []
        for _ in range(options.rounds):
            rows = ours(options, f"^{op}/")
            for row in rows.values():
                label = next(x["label"] for x in row.values() if isinstance(x, dict))
                row["theirs"] = theirs(torch, calls[op], label, options.seconds) if op in calls else (None, None)
            rounds.append(rows)
        for key in rounds[0]:
            def median(values):
                values = [value for value in values if value is not None]
                return statistics.median(values) if values else None

            def each(f):
                return median([f(rows[key]) for rows in rounds])

            times = {name: row for name, row in rounds[0][key].items() if isinstance(row, dict)}
            mine = [each(lambda row: milliseconds({k: v for k, v in row.items() if isinstance(v, dict)}, what))
                    for what in ("forward", "backward")]
            other = [each(lambda row: row["theirs"][at] and row["theirs"][at] * 1e3) for at in (0, 1)]
            forward = times.get("forward", {})
            rates = [100 * each(lambda row: row.get("forward", {}).get(name)) / of if forward.get(name) else 0
                     for name, of in (("bytes_per_second", triad), ("flop/s", peak))]
            name = "/".join(key)
            print(f"{name:44} {ratio_text(mine[0], other[0])} {ratio_text(mine[1], other[1])} {rates[0]:6.0f} {rates[1]:6.0f}",
                  flush=True)
            for what, m, o in zip(("forward", "backward"), mine, other):
                if m is not None and o is not None:
                    compared += 1
                    if m > 1.05 * o:
                        slower.append(f"{name} {what} {m / o:.2f}")
    print(f"{compared} passes compared, {len(slower)} of them slower than PyTorch by more than 5 %: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
