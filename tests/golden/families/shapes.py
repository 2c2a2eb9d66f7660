import torch


def shape(f):
    f.case("transpose", lambda x: x.transpose(1, 2), dict(x=f.normal(2, 3, 4)))
    f.case("slice", lambda x: x[:, 1:3], dict(x=f.normal(3, 4, 2)))
    f.case("concat", lambda a, b: torch.cat([a, b], 1), dict(a=f.normal(2, 3), b=f.normal(2, 2)))
    f.case("flatten", lambda x: x.flatten(1), dict(x=f.normal(2, 3, 2)))


FAMILIES = [shape]
