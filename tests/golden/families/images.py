import torch.nn.functional as F


def conv2d(f):
    f.case("padding", lambda x, w, b: F.conv2d(x, w, b, padding=1),
           dict(x=f.normal(2, 3, 5, 4), w=f.normal(4, 3, 3, 3), b=f.normal(4)))
    f.case("stride", lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(0, 2)),
           dict(x=f.normal(1, 4, 6, 5), w=f.normal(3, 4, 2, 3)))
    f.case("dilation", lambda x, w: F.conv2d(x, w, dilation=2, padding=2),
           dict(x=f.normal(1, 2, 6, 6), w=f.normal(3, 2, 3, 3)))
    f.case("groups", lambda x, w, b: F.conv2d(x, w, b, groups=2),
           dict(x=f.normal(1, 4, 4, 4), w=f.normal(6, 2, 3, 3), b=f.normal(6)))


def max_pool(f):
    f.case("plain", lambda x: F.max_pool2d(x, 2), dict(x=f.normal(2, 3, 4, 6)))
    f.case("overlap", lambda x: F.max_pool2d(x, 3, 2, 1), dict(x=f.normal(1, 2, 7, 6)))


FAMILIES = [conv2d, max_pool]
