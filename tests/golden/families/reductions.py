import torch


def reduce(f):
    f.case("sum", lambda x: x.sum(), dict(x=f.normal(3, 4)))
    f.case("sum_dims", lambda x: x.sum((0, 2)), dict(x=f.normal(2, 3, 4)))
    f.case("mean", lambda x: x.mean(), dict(x=f.normal(3, 4)))
    f.case("mean_last", lambda x: x.mean(-1), dict(x=f.normal(2, 3, 5)))


def values(*rows):
    return torch.tensor(rows, dtype=torch.float64)


NAN = float("nan")
INF = float("inf")


def moments(f):
    f.case("sum_keepdim", lambda x: x.sum((0, -1), keepdim=True), dict(x=f.normal(2, 3, 4)))
    f.case("mean_keepdim", lambda x: x.mean(1, keepdim=True), dict(x=f.normal(2, 3, 4)))
    for name in ("var", "std"):
        function = getattr(torch, name)
        f.case(name, lambda x: function(x), dict(x=f.normal(3, 5)))
        f.case(name + "_dims", lambda x: function(x, dim=(0, 2), correction=0, keepdim=True), dict(x=f.normal(2, 3, 4)))
        f.case(name + "_middle", lambda x: function(x, dim=1, correction=2), dict(x=f.normal(2, 5, 3)))
        f.case(name + "_large_mean", lambda x: function(x, dim=-1, correction=1),
               dict(x=(f.normal(3, 6) + values([1e6], [-3e7], [2e3])).float().double()))
        f.case(name + "_bad", lambda x: function(x, dim=-1, correction=1),
               dict(x=values([1, NAN, 2], [1, INF, 2], [4, 4, 4])))
        f.case(name + "_single", lambda x: function(x, dim=-1, correction=1), dict(x=values([1], [2])))


def norms(f):
    # PyTorch leaves the gradient of p = 0 out: zeros.
    f.case("zero", lambda x: torch.linalg.vector_norm(x, 0, -1) + 0 * x.sum(-1), dict(x=values([3, 0, -1], [0, 0, 0])))
    for name, p in dict(two=2, one=1, inf=INF, minus_inf=-INF, three=3, half=0.5, one_half=1.5, minus=-1).items():
        f.case(name, lambda x: torch.linalg.vector_norm(x, p), dict(x=f.normal(3, 4)))
        f.case(name + "_dims", lambda x: torch.linalg.vector_norm(x, p, (0, 2), True), dict(x=f.normal(2, 3, 4)))
        if p != -1:
            f.case(name + "_special", lambda x: torch.linalg.vector_norm(x, p, -1),
                   dict(x=values([3, -3, 3, 1], [0, 0, 0, 0], [2, 0, -1, -2], [1, 0, 1, -1])))
    f.case("inf_bad", lambda x: torch.linalg.vector_norm(x, INF, -1), dict(x=values([1, NAN, 2], [-INF, 3, INF])))
    f.case("two_bad", lambda x: torch.linalg.vector_norm(x, 2, -1), dict(x=values([1, NAN, 2], [3, INF, 2])))


def extremes(f):
    bad = values([1, 3, NAN, 3], [2, 2, 1, 2], [-INF, -INF, -INF, -INF], [INF, 0, -INF, INF], [NAN, 1, NAN, 0],
                 [-0.0, 0.0, -1, -0.0])
    for name in ("amax", "amin"):
        function = getattr(torch, name)
        f.case(name, lambda x: function(x, ()), dict(x=f.normal(3, 4)))
        f.case(name + "_dims", lambda x: function(x, (0, 2), True), dict(x=f.normal(2, 3, 4)))
        f.case(name + "_first", lambda x: function(x, 0), dict(x=f.normal(5, 3)))
        f.case(name + "_bad", lambda x: function(x, -1), dict(x=bad.clone()))
        f.case(name + "_bad_first", lambda x: function(x, 0), dict(x=bad.t().contiguous()))
    for name in ("max", "min"):
        function = getattr(torch, name)
        f.case(name, lambda x: function(x, -1)[0], dict(x=f.normal(3, 4)))
        f.case(name + "_middle", lambda x: function(x, 1, True)[0], dict(x=f.normal(2, 3, 4)))
        f.case(name + "_bad", lambda x: function(x, -1)[0], dict(x=bad.clone()))
        f.case(name + "_bad_first", lambda x: function(x, 0)[0], dict(x=bad.t().contiguous()))
        f.case(name + "_bad_indices", lambda x: function(x, -1)[1], {}, dict(x=bad.clone()))
        f.case("arg" + name, lambda x: getattr(x, "arg" + name)(), {}, dict(x=f.normal(3, 4)))
        f.case("arg" + name + "_dim", lambda x: getattr(x, "arg" + name)(1, True), {}, dict(x=f.normal(2, 5, 4)))
    for name in ("max", "min"):
        function = getattr(torch, name)
        f.case(name + "_of_all", lambda x: function(x), dict(x=f.normal(2, 3, 4)))
        f.case(name + "_of_all_equal", lambda x: function(x), dict(x=values([3, -1, 3], [-1, 3, 0])))
        f.case(name + "_of_all_bad", lambda x: function(x), dict(x=bad.clone()))


def orders(f):
    bad = values([1, 3, NAN, -INF, 3], [2, 2, 1, 2, 1], [INF, 0, -INF, INF, NAN])
    for name, descending in dict(ascending=False, descending=True).items():
        f.case("sort_" + name, lambda x: torch.sort(x, dim=-1, descending=descending, stable=True)[0],
               dict(x=f.normal(3, 7)))
        f.case("sort_middle_" + name, lambda x: torch.sort(x, dim=1, descending=descending, stable=True)[0],
               dict(x=f.normal(2, 5, 3)))
        f.case("sort_bad_" + name, lambda x: torch.sort(x, dim=-1, descending=descending, stable=True)[0],
               dict(x=bad.clone()))
        f.case("argsort_" + name, lambda x: torch.sort(x, dim=-1, descending=descending, stable=True)[1], {},
               dict(x=bad.clone()))
        f.case("topk_" + name, lambda x: torch.topk(x, 3, -1, descending)[0], dict(x=f.normal(3, 7)))
        f.case("topk_first_" + name, lambda x: torch.topk(x, 2, 0, descending)[0], dict(x=f.normal(5, 3)))
        f.case("topk_indices_" + name, lambda x: torch.topk(x, 4, 1, descending)[1], {}, dict(x=f.normal(2, 6, 3)))


def exponentials(f):
    bad = values([1, NAN, 2], [INF, 0, 1], [-INF, -INF, -INF], [-INF, 0, 1], [INF, -INF, INF], [90, -90, 0])
    large = values([10000, 10001.5, 9999], [-20000, -20000.25, -20003])
    f.case("logsumexp", lambda x: torch.logsumexp(x, (0, 1)), dict(x=f.normal(3, 4)))
    f.case("logsumexp_dims", lambda x: torch.logsumexp(x, (0, 2), True), dict(x=f.normal(2, 3, 4)))
    f.case("logsumexp_bad", lambda x: torch.logsumexp(x, -1), dict(x=bad.clone()))
    f.case("logsumexp_bad_first", lambda x: torch.logsumexp(x, 0), dict(x=bad.t().contiguous()))
    f.case("logsumexp_large", lambda x: torch.logsumexp(x, -1), dict(x=large.clone()))
    for name in ("softmax", "log_softmax"):
        function = getattr(torch, name)
        f.case(name, lambda x: function(x, -1), dict(x=f.normal(3, 5)))
        f.case(name + "_middle", lambda x: function(x, 1), dict(x=f.normal(2, 5, 3)))
        f.case(name + "_bad", lambda x: function(x, -1), dict(x=bad.clone()))
        f.case(name + "_bad_first", lambda x: function(x, 0), dict(x=bad.t().contiguous()))
        f.case(name + "_large", lambda x: function(x, -1), dict(x=large.clone()))


def products_and_counts(f):
    zeros = values([2, 0, 3, 4], [0, 2, 0, 3], [1, 2, 3, 4], [0, 0, 0, 1], [2, -1, 0.5, 0])
    f.case("prod", lambda x: x.prod(), dict(x=f.normal(2, 3)))
    f.case("prod_middle", lambda x: x.prod(1, keepdim=True), dict(x=f.normal(2, 3, 4)))
    f.case("prod_zeros", lambda x: x.prod(-1), dict(x=zeros.clone()))
    f.case("prod_zeros_first", lambda x: x.prod(0), dict(x=zeros.t().contiguous()))
    f.case("cumsum", lambda x: x.cumsum(-1), dict(x=f.normal(6, 5)))
    f.case("cumsum_middle", lambda x: x.cumsum(1), dict(x=f.normal(2, 4, 3)))
    f.case("cumsum_bad", lambda x: x.cumsum(-1), dict(x=values([1, INF, -INF, 2], [1, NAN, 2, 3])))
    f.case("cumprod", lambda x: x.cumprod(-1), dict(x=f.normal(6, 5)))
    f.case("cumprod_zeros", lambda x: x.cumprod(-1), dict(x=zeros.clone()))
    f.case("cumprod_zeros_first", lambda x: x.cumprod(0), dict(x=zeros.t().contiguous()))
    mask = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=torch.uint8)
    f.case("any", lambda x: x.any(-1), {}, dict(x=mask))
    f.case("all", lambda x: x.all(-1, keepdim=True), {}, dict(x=mask))
    f.case("count_nonzero", lambda x: torch.count_nonzero(x, 0), {}, dict(x=mask))
    f.case("count_nonzero_floats", lambda x: torch.count_nonzero(x, -1), {},
           dict(x=values([0, NAN, -0.0, INF], [1e-45, 0, 0, 0])))


FAMILIES = [reduce, moments, norms, extremes, orders, exponentials, products_and_counts]
