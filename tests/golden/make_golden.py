#!/usr/bin/python3
"""Writes the golden files of this folder: values and gradients of each op, as PyTorch (made with 1.13.1) computes them
in double precision from float inputs, rounded to float once.

Usage: make_golden.py [FOLDER]

A file is one family, a line one tensor:  ROLE NAME SHAPE BITS...  after a line  case NAME.  BITS are the eight
hexadecimal digits of each float (or integer). Roles: var (an input with a gradient), in (one without), out, weight (the
loss is the sum of out * weight), grad (of the var of that name), state (an input's content afterwards).
"""
import struct
import sys

import torch
import torch.nn.functional as F


def bits(tensor):
    flat = tensor.detach().reshape(-1)
    if tensor.dtype in (torch.int32, torch.int64):
        return [struct.pack(">i", v).hex() for v in flat.tolist()]
    return [struct.pack(">f", v).hex() for v in flat.to(torch.float32).tolist()]


class Family:
    def __init__(self, name):
        self.name = name
        self.lines = []
        self.random = torch.Generator().manual_seed(sum(map(ord, name)))

    def normal(self, *shape):
        return torch.randn(shape, generator=self.random).double()

    def positive(self, *shape):
        return (self.normal(*shape).abs() + 0.25).float().double()

    def indices(self, below, *shape):
        return torch.randint(below, shape, generator=self.random)

    def line(self, role, name, tensor):
        shape = ",".join(map(str, tensor.shape)) or "-"
        self.lines.append(" ".join([role, name, shape] + bits(tensor)))

    def case(self, name, function, variables, inputs={}, states=()):
        """function(**variables, **inputs) -> out; `states` are inputs that it changes."""
        self.lines.append("case " + name)
        for key, value in variables.items():
            value.requires_grad_(True)
            self.line("var", key, value)
        for key, value in inputs.items():
            self.line("in", key, value)
        out = function(**variables, **inputs)
        weight = self.normal(*out.shape).float().double()
        (out * weight).sum().backward()
        self.line("out", "y", out)
        self.line("weight", "w", weight)
        for key, value in variables.items():
            self.line("grad", key, value.grad)
        for key in states:
            self.line("state", key, inputs[key])

    def write(self, folder):
        with open(f"{folder}/{self.name}.txt", "w") as file:
            file.write("\n".join(self.lines) + "\n")


def conv2d(f):
    f.case("padding", lambda x, w, b: F.conv2d(x, w, b, padding=1),
           dict(x=f.normal(2, 3, 5, 4), w=f.normal(4, 3, 3, 3), b=f.normal(4)))
    f.case("stride", lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(0, 2)),
           dict(x=f.normal(1, 4, 6, 5), w=f.normal(3, 4, 2, 3)))
    f.case("dilation", lambda x, w: F.conv2d(x, w, dilation=2, padding=2),
           dict(x=f.normal(1, 2, 6, 6), w=f.normal(3, 2, 3, 3)))
    f.case("groups", lambda x, w, b: F.conv2d(x, w, b, groups=2),
           dict(x=f.normal(1, 4, 4, 4), w=f.normal(6, 2, 3, 3), b=f.normal(6)))


def linear(f):
    f.case("batch", F.linear, dict(input=f.normal(4, 7), weight=f.normal(5, 7), bias=f.normal(5)))
    f.case("sequence", F.linear, dict(input=f.normal(2, 3, 6), weight=f.normal(4, 6)))


def matmul(f):
    f.case("matrix", lambda a, b: a @ b, dict(a=f.normal(4, 6), b=f.normal(6, 5)))
    f.case("batch", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(2, 4, 5)))
    f.case("shared", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(4, 5)))


def elementwise(f):
    for name, op in dict(add=torch.add, sub=torch.sub, mul=torch.mul).items():
        f.case(name + "_equal", lambda a, b: op(a, b), dict(a=f.normal(3, 4), b=f.normal(3, 4)))
        f.case(name + "_row", lambda a, b: op(a, b), dict(a=f.normal(2, 3, 4), b=f.normal(4)))
        f.case(name + "_channel", lambda a, b: op(a, b), dict(a=f.normal(3, 1, 1), b=f.normal(2, 3, 2, 3)))
        f.case(name + "_both", lambda a, b: op(a, b), dict(a=f.normal(3, 1, 2), b=f.normal(4, 1)))
        f.case(name + "_number", lambda a, b: op(a, b), dict(a=f.normal(), b=f.normal(5)))
    f.case("affine", lambda x: 2.5 * x - 0.75, dict(x=f.normal(3, 5)))
    f.case("div_equal", torch.div, dict(input=f.normal(3, 4), other=f.positive(3, 4)))
    f.case("div_row", torch.div, dict(input=f.normal(2, 3, 4), other=f.positive(4)))
    f.case("div_channel", torch.div, dict(input=f.normal(3, 1, 1), other=f.positive(2, 3, 2, 3)))
    f.case("div_both", torch.div, dict(input=f.normal(3, 1, 2), other=f.positive(4, 1)))
    f.case("div_by_number", lambda x: x / 3, dict(x=f.normal(3, 5)))
    f.case("div_of_number", lambda x: -0.7 / x, dict(x=f.positive(3, 5)))


def activation(f):
    f.case("relu", F.relu, dict(input=f.normal(4, 9)))
    wide = 3 * f.normal(4, 9)
    f.case("gelu", F.gelu, dict(input=wide.detach().float().double()))
    f.case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), dict(x=wide.detach().float().double()))
    f.case("softmax", lambda x: F.softmax(x, -1), dict(x=f.normal(3, 4, 5)))
    for name, op in dict(sigmoid=torch.sigmoid, tanh=torch.tanh, silu=F.silu).items():
        f.case(name, op, dict(input=(3 * f.normal(4, 9)).float().double()))
    f.case("leaky_relu", lambda x: F.leaky_relu(x, 0.125), dict(x=f.normal(4, 9)))


def function(f):
    for name, op in dict(exp=torch.exp, square=torch.square, abs=torch.abs, neg=torch.neg).items():
        f.case(name, op, dict(input=f.normal(4, 9)))
    for name, op in dict(log=torch.log, sqrt=torch.sqrt, reciprocal=torch.reciprocal).items():
        f.case(name, op, dict(input=f.positive(4, 9)))


def max_pool(f):
    f.case("plain", lambda x: F.max_pool2d(x, 2), dict(x=f.normal(2, 3, 4, 6)))
    f.case("overlap", lambda x: F.max_pool2d(x, 3, 2, 1), dict(x=f.normal(1, 2, 7, 6)))


def norm(f):
    def batch(training):
        return lambda x, gamma, beta, mean, variance: F.batch_norm(x, mean, variance, gamma, beta, training, 0.1, 1e-5)

    for name, shape in dict(image=(2, 3, 4, 3), features=(6, 5)).items():
        for training in (True, False):
            f.case(f"batch_{name}_{'train' if training else 'eval'}", batch(training),
                   dict(x=f.normal(*shape), gamma=f.normal(shape[1]), beta=f.normal(shape[1])),
                   dict(mean=f.normal(shape[1]), variance=f.positive(shape[1])), ("mean", "variance"))
    f.case("layer", lambda x, gamma, beta: F.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5),
           dict(x=f.normal(2, 3, 9), gamma=f.normal(9), beta=f.normal(9)))


def embedding(f):
    f.case("rows", lambda table, indices: F.embedding(indices, table), dict(table=f.normal(6, 5)),
           dict(indices=f.indices(6, 3, 4)))


def shape(f):
    f.case("transpose", lambda x: x.transpose(1, 2), dict(x=f.normal(2, 3, 4)))
    f.case("slice", lambda x: x[:, 1:3], dict(x=f.normal(3, 4, 2)))
    f.case("concat", lambda a, b: torch.cat([a, b], 1), dict(a=f.normal(2, 3), b=f.normal(2, 2)))
    f.case("flatten", lambda x: x.flatten(1), dict(x=f.normal(2, 3, 2)))


def attention(f):
    def causal(qkv, heads):
        n, t, width = qkv.shape
        q, k, v = (p.reshape(n, t, heads, -1).transpose(1, 2) for p in qkv.split(width // 3, -1))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf"))
        return (F.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, t, -1)

    f.case("two_heads", lambda qkv: causal(qkv, 2), dict(qkv=f.normal(2, 5, 12)))
    f.case("one_head", lambda qkv: causal(qkv, 1), dict(qkv=f.normal(1, 9, 9)))


def reduce(f):
    f.case("sum", lambda x: x.sum(), dict(x=f.normal(3, 4)))
    f.case("sum_dims", lambda x: x.sum((0, 2)), dict(x=f.normal(2, 3, 4)))
    f.case("mean", lambda x: x.mean(), dict(x=f.normal(3, 4)))
    f.case("mean_last", lambda x: x.mean(-1), dict(x=f.normal(2, 3, 5)))


def loss(f):
    f.case("cross_entropy", lambda logits, classes: F.cross_entropy(logits, classes), dict(logits=f.normal(5, 7)),
           dict(classes=f.indices(7, 5)))
    f.case("cross_entropy_sequence",
           lambda logits, classes: F.cross_entropy(logits.reshape(-1, 4), classes.reshape(-1)),
           dict(logits=f.normal(2, 3, 4)), dict(classes=f.indices(4, 2, 3)))
    f.case("mse", F.mse_loss, dict(input=f.normal(3, 5), target=f.normal(3, 5)))


def bad_values(f):
    """NaN and infinities: which elements of values and gradients they reach."""
    nan, inf = float("nan"), float("inf")

    def spoilt(x, **values):
        for key, value in values.items():
            x.view(-1)[int(key[1:])] = value
        return x

    f.case("max_pool", lambda x: F.max_pool2d(x, 2),
           dict(x=spoilt(f.normal(1, 3, 4, 6), i1=nan, i7=nan, i10=inf, i11=-inf, i24=-inf, i25=-inf, i30=-inf, i31=-inf,
                         i50=nan, i51=inf)))
    f.case("max_pool_overlap", lambda x: F.max_pool2d(x, 3, 2, 1), dict(x=spoilt(f.normal(1, 2, 5, 6), i8=nan, i14=nan,
                                                                                i40=-inf)))
    f.case("softmax", lambda x: F.softmax(x, -1),
           dict(x=spoilt(f.normal(6, 4), i1=nan, i6=inf, i8=-inf, i12=-inf, i13=-inf, i14=-inf, i15=-inf, i16=inf, i17=-inf)))
    f.case("layer_norm", lambda x, gamma, beta: F.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5),
           dict(x=spoilt(f.normal(4, 5), i1=nan, i7=inf), gamma=f.normal(5), beta=f.normal(5)))
    for training in (True, False):
        f.case("batch_norm_" + ("train" if training else "eval"),
               lambda x, gamma, beta, mean, variance: F.batch_norm(x, mean, variance, gamma, beta, training, 0.1, 1e-5),
               dict(x=spoilt(f.normal(2, 3, 2, 3), i1=nan, i8=inf), gamma=f.normal(3), beta=f.normal(3)),
               dict(mean=f.normal(3), variance=f.positive(3)), ("mean", "variance"))
    for name, values in dict(nan=dict(i1=nan), inf=dict(i1=inf), masked=dict(i1=-inf, i9=-inf), impossible=dict(i2=-inf),
                             all_masked=dict(i0=-inf, i1=-inf, i2=-inf, i3=-inf)).items():
        f.case("cross_entropy_" + name, lambda logits, classes: F.cross_entropy(logits, classes),
               dict(logits=spoilt(f.normal(3, 4), **values)), dict(classes=torch.tensor([2, 0, 3])))
    f.case("mse", F.mse_loss, dict(input=spoilt(f.normal(3, 2), i1=nan, i2=inf), target=f.normal(3, 2)))
    f.case("sum_rows", lambda x: x.sum(0), dict(x=spoilt(f.normal(3, 4), i1=nan, i2=inf, i6=-inf, i3=inf)))
    f.case("linear", F.linear, dict(input=spoilt(f.normal(4, 3), i1=nan, i7=inf), weight=f.normal(2, 3), bias=f.normal(2)))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else sys.path[0]
    for make in (conv2d, linear, matmul, elementwise, activation, function, max_pool, norm, embedding, shape, attention, reduce,
                 loss, bad_values):
        family = Family(make.__name__)
        make(family)
        family.write(folder)


if __name__ == "__main__":
    main()
