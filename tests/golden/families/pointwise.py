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


def wide(f, *shape):
    return (3 * f.normal(*shape)).float().double()


def more_functions(f):
    for name in ("expm1", "sin", "cos", "erf", "sign", "floor", "ceil", "round", "trunc"):
        f.case(name, getattr(torch, name), dict(input=wide(f, 4, 9)))
    for name in ("log2", "log1p", "rsqrt"):
        f.case(name, getattr(torch, name), dict(input=f.positive(4, 9)))
    f.case("sin_far", torch.sin, dict(input=(1e9 * f.normal(3, 7)).float().double()))
    f.case("cos_far", torch.cos, dict(input=(1e30 * f.normal(3, 7)).float().double()))
    for name, exponent in dict(cube=3, square=2, root=0.5, inverse=-1, negative=-2.5, none=0, same=1).items():
        f.case("pow_" + name, lambda x: x ** exponent, dict(x=f.positive(3, 5)))
    f.case("pow_whole_of_negative", lambda x: x ** 3, dict(x=f.normal(3, 5)))
    f.case("pow_of_number", lambda x: torch.pow(2.5, x), dict(x=f.normal(3, 5)))
    f.case("clamp", lambda x: x.clamp(-0.5, 0.75), dict(x=f.normal(3, 7)))
    f.case("clamp_min", lambda x: x.clamp(min=0.25), dict(x=f.normal(3, 7)))
    f.case("clamp_max", lambda x: x.clamp(max=-0.25), dict(x=f.normal(3, 7)))


def more_activations(f):
    for name, op in dict(log_sigmoid=F.logsigmoid, mish=F.mish, selu=F.selu, elu=F.elu, relu6=F.relu6, hardtanh=F.hardtanh,
                         hardswish=F.hardswish, hardsigmoid=F.hardsigmoid, softsign=F.softsign,
                         softplus=F.softplus).items():
        f.case(name, op, dict(input=wide(f, 4, 9)))
    f.case("elu_alpha", lambda x: F.elu(x, 0.3), dict(x=wide(f, 4, 9)))
    f.case("celu", lambda x: F.celu(x, 0.7), dict(x=wide(f, 4, 9)))
    f.case("hardtanh_bounds", lambda x: F.hardtanh(x, -0.5, 2), dict(x=wide(f, 4, 9)))
    f.case("softplus_options", lambda x: F.softplus(x, 2.5, 3), dict(x=wide(f, 4, 9)))
    f.case("prelu_one", F.prelu, dict(input=f.normal(2, 3, 4), weight=f.normal(1)))
    f.case("prelu_channels", F.prelu, dict(input=f.normal(2, 3, 4, 2), weight=f.normal(3)))
    f.case("prelu_matrix", F.prelu, dict(input=f.normal(4, 3), weight=f.normal(3)))
    f.case("glu", lambda x: F.glu(x, -1), dict(x=f.normal(3, 8)))
    f.case("glu_channels", lambda x: F.glu(x, 1), dict(x=f.normal(2, 4, 3)))

    def swiglu(x):
        a, b = x.chunk(2, 1)
        return F.silu(a) * b

    f.case("swiglu", swiglu, dict(x=wide(f, 2, 6, 5)))


def more_operands(f):
    shapes = dict(equal=((3, 4), (3, 4)), row=((2, 3, 4), (4,)), both=((3, 1, 2), (4, 1)))
    for kind, (a, b) in shapes.items():
        f.case("maximum_" + kind, torch.maximum, dict(input=f.normal(*a), other=f.normal(*b)))
        f.case("minimum_" + kind, torch.minimum, dict(input=f.normal(*a), other=f.normal(*b)))
        f.case("pow_" + kind, torch.pow, dict(input=f.positive(*a), exponent=f.normal(*b)))
    equal = f.normal(7)
    f.case("maximum_ties", torch.maximum, dict(input=equal.clone(), other=equal.clone()))
    f.case("lerp", torch.lerp, dict(input=f.normal(3, 1, 2), end=f.normal(4, 1), weight=f.normal(2)))
    f.case("lerp_number", lambda a, b: torch.lerp(a, b, 0.8), dict(a=f.normal(3, 4), b=f.normal(4)))
    flags = f.indices(2, 3, 1, 4).to(torch.uint8)
    f.case("where", lambda a, b, mask: torch.where(mask.bool(), a, b), dict(a=f.normal(5, 1), b=f.normal(3, 1, 1)),
           dict(mask=flags))
    f.case("where_number", lambda a, mask: torch.where(mask.bool(), a, -2.0), dict(a=f.normal(3, 5, 4)), dict(mask=flags))
    f.case("masked_fill", lambda x, mask: x.masked_fill(mask.bool(), 7), dict(x=f.normal(3, 5, 4)), dict(mask=flags))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        op = getattr(torch, name)
        f.case(name, op, dict(input=f.normal(3, 4).round(), other=f.normal(4).round()))
        f.case(name + "_number", lambda x: op(x, 1), dict(x=f.normal(3, 4).round()))
        f.case(name + "_integers", op, {}, dict(input=f.indices(3, 3, 4).int(), other=f.indices(3, 3, 1).int()))
    for name in ("logical_and", "logical_or", "logical_xor"):
        f.case(name, getattr(torch, name), {},
               dict(input=f.indices(3, 3, 4).to(torch.uint8), other=f.indices(3, 4).to(torch.uint8)))
    f.case("logical_not", torch.logical_not, {}, dict(input=f.indices(3, 9).to(torch.uint8)))


FAMILIES = [elementwise, activation, function, more_functions, more_activations, more_operands]
