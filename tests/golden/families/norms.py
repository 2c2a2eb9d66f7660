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


FAMILIES = [norm]
