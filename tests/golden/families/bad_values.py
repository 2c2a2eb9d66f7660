import torch
import torch.nn.functional as F


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


FAMILIES = [bad_values]
