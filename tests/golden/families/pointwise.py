import torch
import torch.nn.functional as F


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


FAMILIES = [elementwise, activation, function]
