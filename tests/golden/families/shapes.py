import torch
import torch.nn.functional as F


def shape(f):
    f.case("transpose", lambda x: x.transpose(1, 2), dict(x=f.normal(2, 3, 4)))
    f.case("slice", lambda x: x[:, 1:3], dict(x=f.normal(3, 4, 2)))
    f.case("concat", lambda a, b: torch.cat([a, b], 1), dict(a=f.normal(2, 3), b=f.normal(2, 2)))
    f.case("flatten", lambda x: x.flatten(1), dict(x=f.normal(2, 3, 2)))


def order(f):
    f.case("permute", lambda x: x.permute(2, 0, 3, 1), dict(x=f.normal(2, 3, 4, 2)))
    f.case("flip", lambda x: x.flip(0, -1), dict(x=f.normal(3, 2, 4)))
    f.case("roll", lambda x: x.roll((2, -1), (0, 2)), dict(x=f.normal(3, 2, 4)))
    f.case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), dict(x=f.normal(1, 8, 2, 3)))
    f.case("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 3), dict(x=f.normal(2, 1, 3, 6)))


def parts(f):
    f.case("step", lambda x: x[:, 1:6:2], dict(x=f.normal(2, 7, 2)))
    f.case("narrow", lambda x: x.narrow(-1, 1, 3), dict(x=f.normal(3, 5)))
    f.case("select", lambda x: x.select(1, -2), dict(x=f.normal(2, 4, 3)))
    f.case("unbind", lambda x: x.unbind(1)[0] * x.unbind(1)[2], dict(x=f.normal(2, 3, 2)))
    f.case("split", lambda x: x.split([1, 3], 1)[1], dict(x=f.normal(2, 4)))
    f.case("split_size", lambda x: torch.cat(x.split(3, 1)[::-1], 1), dict(x=f.normal(2, 7)))
    f.case("chunk", lambda x: torch.cat(x.chunk(3)[::-1]), dict(x=f.normal(7, 2)))
    f.case("diagonal", lambda x: x.diagonal(-1, 1, 2), dict(x=f.normal(2, 4, 3)))
    f.case("tril", lambda x: x.tril(-1), dict(x=f.normal(2, 4, 3)))
    f.case("triu", lambda x: x.triu(1), dict(x=f.normal(3, 5)))


def join(f):
    f.case("stack", lambda a, b: torch.stack([a, b], -1), dict(a=f.normal(2, 3), b=f.normal(2, 3)))
    f.case("expand", lambda x: x.expand(2, 3, -1, 4), dict(x=f.normal(3, 2, 1)))
    f.case("repeat", lambda x: x.repeat(2, 1, 3), dict(x=f.normal(2, 3)))
    f.case("repeat_interleave", lambda x: x.repeat_interleave(3, 1), dict(x=f.normal(2, 3, 2)))


def pad(f):
    f.case("constant", lambda x: F.pad(x, (2, 0, 1, 3), value=1.5), dict(x=f.normal(2, 2, 3)))
    f.case("crop", lambda x: F.pad(x, (-1, 2, 1, -2)), dict(x=f.normal(2, 4, 3)))
    f.case("reflect", lambda x: F.pad(x, (2, 3, 1, 2), mode="reflect"), dict(x=f.normal(1, 2, 3, 4)))
    f.case("replicate", lambda x: F.pad(x, (2, 3, 1, 2), mode="replicate"), dict(x=f.normal(1, 2, 2, 3)))
    f.case("circular", lambda x: F.pad(x, (2, 3, 1, 2), mode="circular"), dict(x=f.normal(1, 2, 3, 4)))


def index(f):
    f.case("gather", lambda x, i: x.gather(1, i), dict(x=f.normal(3, 4, 2)), dict(i=f.indices(4, 2, 6, 2)))
    f.case("gather_last", lambda x, i: x.gather(-1, i), dict(x=f.normal(3, 4)), dict(i=f.indices(4, 3, 5)))
    f.case("take_along_dim", lambda x, i: torch.take_along_dim(x, i, 1), dict(x=f.normal(2, 4, 1)),
           dict(i=f.indices(4, 1, 3, 2)))
    # PyTorch's gradient of src is that of a scatter without repeated places.
    f.case("scatter", lambda x, src, i: x.scatter(1, i, src), dict(x=f.normal(2, 5), src=f.normal(2, 3)),
           dict(i=torch.tensor([[4, 0, 2], [1, 3, 0]])))
    f.case("scatter_add", lambda x, src, i: x.scatter_add(0, i, src), dict(x=f.normal(3, 4), src=f.normal(6, 2)),
           dict(i=f.indices(3, 6, 2)))
    f.case("index_select", lambda x, i: x.index_select(1, i), dict(x=f.normal(2, 4, 3)), dict(i=f.indices(4, 6)))
    f.case("index_add", lambda x, src, i: x.index_add(1, i, src), dict(x=f.normal(2, 3), src=f.normal(2, 5)),
           dict(i=f.indices(3, 5)))


def window(f):
    f.case("unfold", lambda x: F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 2), stride=(2, 1)),
           dict(x=f.normal(2, 2, 4, 3)))
    f.case("fold", lambda x: F.fold(x, (4, 3), (2, 3), dilation=(2, 1), padding=(1, 2), stride=(2, 1)),
           dict(x=f.normal(1, 12, 10)))


FAMILIES = [shape, order, parts, join, pad, index, window]
