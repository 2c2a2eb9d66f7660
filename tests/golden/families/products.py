import torch.nn.functional as F


def linear(f):
    f.case("batch", F.linear, dict(input=f.normal(4, 7), weight=f.normal(5, 7), bias=f.normal(5)))
    f.case("sequence", F.linear, dict(input=f.normal(2, 3, 6), weight=f.normal(4, 6)))


def matmul(f):
    f.case("matrix", lambda a, b: a @ b, dict(a=f.normal(4, 6), b=f.normal(6, 5)))
    f.case("batch", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(2, 4, 5)))
    f.case("shared", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(4, 5)))


FAMILIES = [linear, matmul]
