import torch.nn.functional as F


def loss(f):
    f.case("cross_entropy", lambda logits, classes: F.cross_entropy(logits, classes), dict(logits=f.normal(5, 7)),
           dict(classes=f.indices(7, 5)))
    f.case("cross_entropy_sequence",
           lambda logits, classes: F.cross_entropy(logits.reshape(-1, 4), classes.reshape(-1)),
           dict(logits=f.normal(2, 3, 4)), dict(classes=f.indices(4, 2, 3)))
    f.case("mse", F.mse_loss, dict(input=f.normal(3, 5), target=f.normal(3, 5)))


FAMILIES = [loss]
