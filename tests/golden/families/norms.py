import torch.nn.functional as F


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


def norm_more(f):
    f.case("batch_sequence", lambda x, gamma, beta, mean, variance: F.batch_norm(x, mean, variance, gamma, beta, True),
           dict(x=f.normal(3, 2, 5), gamma=f.normal(2), beta=f.normal(2)),
           dict(mean=f.normal(2), variance=f.positive(2)), ("mean", "variance"))
    f.case("batch_plain", lambda x: F.batch_norm(x, None, None, training=True), dict(x=f.normal(3, 2, 2, 3)))
    f.case("layer_dims", lambda x, gamma, beta: F.layer_norm(x, (3, 4), gamma, beta),
           dict(x=f.normal(2, 3, 4), gamma=f.normal(3, 4), beta=f.normal(3, 4)))
    f.case("layer_plain", lambda x: F.layer_norm(x, (5,)), dict(x=f.normal(4, 5)))
    f.case("group", lambda x, gamma, beta: F.group_norm(x, 3, gamma, beta),
           dict(x=f.normal(2, 6, 3, 2), gamma=f.normal(6), beta=f.normal(6)))
    f.case("group_plain", lambda x: F.group_norm(x, 2), dict(x=f.normal(2, 4, 5)))
    f.case("instance", lambda x, gamma, beta: F.instance_norm(x, weight=gamma, bias=beta),
           dict(x=f.normal(2, 3, 4, 2), gamma=f.normal(3), beta=f.normal(3)))
    f.case("instance_plain", F.instance_norm, dict(input=f.normal(2, 3, 7)))
    f.case("rms", lambda x, gamma: x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * gamma,
           dict(x=f.normal(2, 3, 9), gamma=f.normal(9)))


FAMILIES = [norm, norm_more]
