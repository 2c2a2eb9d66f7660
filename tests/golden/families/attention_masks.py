import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.stateless import functional_call


def attend(q, k, v, causal=False, hidden=None, bias=None, scale=None):
    """Query rows that see nothing give zeros, as in later versions of PyTorch."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    v = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
    scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    if bias is not None:
        scores = scores + bias
    seen = torch.ones_like(scores, dtype=torch.bool)
    if causal:
        seen = seen.tril()
    if hidden is not None:
        seen = seen & (hidden == 0)[:, None, None, :]
    none = ~seen.any(-1, keepdim=True)
    weights = F.softmax(scores.masked_fill(~seen, float("-inf")).masked_fill(none, 0), -1)
    return weights.masked_fill(none, 0) @ v


def split(x, heads):
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def join(x):
    return x.transpose(1, 2).flatten(2)


def scaled_dot_product(f):
    def qkv(q, k, v):
        return dict(q=f.normal(*q), k=f.normal(*k), v=f.normal(*v))

    f.case("cross", attend, qkv((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)))
    f.case("grouped", lambda q, k, v: attend(q, k, v, causal=True), qkv((1, 4, 5, 3), (1, 2, 4, 3), (1, 2, 4, 3)))
    f.case("scale", lambda q, k, v: attend(q, k, v, scale=0.2), qkv((1, 1, 4, 2), (1, 1, 3, 2), (1, 1, 3, 2)))
    f.case(
        "side_by_side",
        lambda q, k, v: join(attend(split(q, 4), split(k, 2), split(v, 2), causal=True)),
        qkv((2, 3, 8), (2, 6, 4), (2, 6, 6)),
    )
    # The first two queries of the second sequence see no key, nor does any of the third.
    hidden = torch.tensor([[0, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.uint8)
    f.case(
        "masks",
        lambda q, k, v, hidden, bias: attend(q, k, v, True, hidden, bias),
        qkv((3, 2, 4, 3), (3, 2, 4, 3), (3, 2, 4, 3)),
        dict(hidden=hidden, bias=f.normal(2, 1, 4).float().double()),
    )


def rotary(f):
    def turn(x, positions, base, interleaved):
        size = x.shape[-1]
        angle = positions[..., None].double() * base ** (-torch.arange(0, size, 2).double() / size)
        even, odd = (x[..., ::2], x[..., 1::2]) if interleaved else x.split(size // 2, -1)
        a = even * angle.cos() - odd * angle.sin()
        b = odd * angle.cos() + even * angle.sin()
        return torch.stack((a, b), -1).flatten(-2) if interleaved else torch.cat((a, b), -1)

    f.case("halves", lambda x: turn(x, torch.arange(4), 10000, False), dict(x=f.normal(2, 4, 6)))
    f.case("neighbours", lambda x: turn(x, 100000 + torch.arange(4), 500, True), dict(x=f.normal(2, 4, 6)))
    f.case(
        "positions",
        lambda x, positions: turn(x, positions[:, None], 10000, False),
        dict(x=f.normal(2, 3, 4, 2)),
        dict(positions=f.indices(1000, 2, 4)),
    )


def transformer(f):
    def case(name, module, call, inputs, masks={}):
        module = module.double()
        parameters = {key: f.normal(*value.shape) * 0.4 for key, value in module.named_parameters()}
        names = list(parameters)

        def run(**given):
            weights = {key: given[key.replace(".", "_")] for key in names}
            rest = {key: given[key] for key in [*inputs, *masks]}
            return functional_call(module, weights, (), call(**rest))

        variables = dict(inputs)
        variables.update({key.replace(".", "_"): value for key, value in parameters.items()})
        f.case(name, run, variables, masks)

    def attention(query, key, value, **options):
        return dict(query=query, key=key, value=value, **options)

    class First(nn.Module):
        """The output without the weights."""

        def __init__(self, *arguments, **options):
            super().__init__()
            self.inner = nn.MultiheadAttention(*arguments, batch_first=True, **options)

        def forward(self, **options):
            return self.inner(need_weights=False, **options)[0]

    hidden = torch.tensor([[0, 0, 1], [0, 1, 1]], dtype=torch.uint8)
    case(
        "attention",
        First(4, 2),
        lambda x, hidden, bias: attention(x, x, x, key_padding_mask=hidden.bool(), attn_mask=bias),
        dict(x=f.normal(2, 3, 4)),
        dict(hidden=hidden, bias=f.normal(3, 3).float().double()),
    )
    case(
        "attention_kdim",
        First(4, 2, bias=False, kdim=3, vdim=5),
        lambda x, k, v: attention(x, k, v),
        dict(x=f.normal(2, 3, 4), k=f.normal(2, 2, 3), v=f.normal(2, 2, 5)),
    )
    for norm_first in (False, True):
        case(
            "encoder_first" if norm_first else "encoder",
            nn.TransformerEncoderLayer(4, 2, 6, 0, "gelu" if norm_first else "relu", batch_first=True,
                                       norm_first=norm_first),
            lambda x: dict(src=x),
            dict(x=f.normal(2, 3, 4)),
        )
        case(
            "decoder_first" if norm_first else "decoder",
            nn.TransformerDecoderLayer(4, 2, 6, 0, batch_first=True, norm_first=norm_first),
            lambda x, memory: dict(tgt=x, memory=memory, tgt_mask=torch.full((3, 3), float("-inf")).triu(1).double()),
            dict(x=f.normal(2, 3, 4), memory=f.normal(2, 2, 4)),
        )


FAMILIES = [scaled_dot_product, rotary, transformer]
