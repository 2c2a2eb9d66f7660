import torch
import torch.nn.functional as F


def loss(f):
    f.case("cross_entropy", lambda logits, classes: F.cross_entropy(logits, classes), dict(logits=f.normal(5, 7)),
           dict(classes=f.indices(7, 5)))
    f.case("cross_entropy_sequence",
           lambda logits, classes: F.cross_entropy(logits.reshape(-1, 4), classes.reshape(-1)),
           dict(logits=f.normal(2, 3, 4)), dict(classes=f.indices(4, 2, 3)))
    f.case("mse", F.mse_loss, dict(input=f.normal(3, 5), target=f.normal(3, 5)))


def class_loss(f):
    def cross_entropy(name, **options):
        f.case(name, lambda logits, classes, weight=None: F.cross_entropy(logits, classes, weight, **options),
               dict(logits=f.normal(8, 5)), dict(classes=f.indices(5, 8)))
        f.case(name + "_weighted",
               lambda logits, classes, weight: F.cross_entropy(logits, classes, weight, **options),
               dict(logits=f.normal(8, 5)), dict(classes=f.indices(5, 8), weight=f.positive(5)))

    for reduction in ["mean", "sum", "none"]:
        cross_entropy(reduction, reduction=reduction, ignore_index=2)
        cross_entropy(reduction + "_smooth", reduction=reduction, label_smoothing=0.2, ignore_index=1)
        f.case(reduction + "_nll", lambda x, classes, weight: F.nll_loss(x, classes, weight, None, 3, None, reduction),
               dict(x=f.normal(8, 5)), dict(classes=f.indices(5, 8), weight=f.positive(5)))
        f.case(reduction + "_linear",
               lambda x, w, b, classes: F.cross_entropy(F.linear(x, w, b), classes, reduction=reduction,
                                                        ignore_index=1, label_smoothing=0.1),
               dict(x=f.normal(7, 4), w=f.normal(6, 4), b=f.normal(6)), dict(classes=f.indices(6, 7)))
        f.case(reduction + "_probabilities",
               lambda logits, target: F.cross_entropy(logits, target, reduction=reduction),
               dict(logits=f.normal(4, 6), target=f.positive(4, 6)))
        f.case(reduction + "_probabilities_smooth_weighted",
               lambda logits, target, weight: F.cross_entropy(logits, target, weight, reduction=reduction,
                                                              label_smoothing=0.3),
               dict(logits=f.normal(4, 6), target=f.positive(4, 6)), dict(weight=f.positive(6)))
        for p in [1, 2]:
            f.case(f"{reduction}_multi_margin_{p}",
                   lambda x, classes, weight: F.multi_margin_loss(x, classes, p, 0.7, weight, reduction=reduction),
                   dict(x=f.normal(6, 5)), dict(classes=f.indices(5, 6), weight=f.positive(5)))
    f.case("linear_plain", lambda x, w, classes: F.cross_entropy(F.linear(x, w).reshape(-1, 6), classes.reshape(-1)),
           dict(x=f.normal(2, 3, 4), w=f.normal(6, 4)), dict(classes=f.indices(6, 2, 3)))


def element_loss(f):
    def case(name, function, *operands, inputs={}, **options):
        variables = {key: draw(4, 7).float().double() for key, draw in zip("abc", operands)}
        f.case(name, lambda **tensors: function(*tensors.values(), **options), variables, inputs)

    unit = lambda *shape: f.normal(*shape).sigmoid()
    for reduction in ["mean", "sum", "none"]:
        case(reduction + "_l1", F.l1_loss, f.normal, f.normal, reduction=reduction)
        case(reduction + "_mse", F.mse_loss, f.normal, f.normal, reduction=reduction)
        case(reduction + "_smooth_l1", F.smooth_l1_loss, f.normal, f.normal, beta=0.6, reduction=reduction)
        case(reduction + "_huber", F.huber_loss, f.normal, f.normal, delta=0.6, reduction=reduction)
        case(reduction + "_bce", F.binary_cross_entropy, unit, unit, reduction=reduction)
        case(reduction + "_bce_weighted",
             lambda x, target, weight, reduction: F.binary_cross_entropy(x, target, weight, reduction=reduction),
             unit, unit, inputs=dict(weight=f.positive(7)), reduction=reduction)
        case(reduction + "_bce_logits", F.binary_cross_entropy_with_logits, f.normal, unit, reduction=reduction)
        case(reduction + "_bce_logits_weighted",
             lambda x, target, weight, pos_weight, reduction: F.binary_cross_entropy_with_logits(
                 x, target, weight, reduction=reduction, pos_weight=pos_weight), f.normal, unit,
             inputs=dict(weight=f.positive(4, 1), pos_weight=f.positive(7)), reduction=reduction)
        case(reduction + "_poisson", F.poisson_nll_loss, f.normal, f.positive, full=True, reduction=reduction)
        case(reduction + "_poisson_plain", F.poisson_nll_loss, f.positive, f.positive, log_input=False, eps=1e-3,
             reduction=reduction)
        case(reduction + "_gaussian", F.gaussian_nll_loss, f.normal, f.normal, f.positive, full=True,
             reduction=reduction)
    for reduction in ["mean", "sum", "none", "batchmean"]:
        case(reduction + "_kl", F.kl_div, f.normal, unit, reduction=reduction)
        case(reduction + "_kl_log", F.kl_div, f.normal, f.normal, reduction=reduction, log_target=True)
    for name, shape in dict(one=(1,), rows=(4, 1), columns=(1, 7), each=(4, 7)).items():
        case("pos_weight_" + name, lambda x, target, pos_weight: F.binary_cross_entropy_with_logits(
            x, target, pos_weight=pos_weight), f.normal, unit, inputs=dict(pos_weight=f.positive(*shape)))


def margin_loss(f):
    signs = lambda *shape: torch.randint(2, shape, generator=f.random).double() * 2 - 1
    for reduction in ["mean", "sum", "none"]:
        f.case(reduction + "_soft_margin", lambda x, y: F.soft_margin_loss(x, y, reduction=reduction),
               dict(x=f.normal(3, 5)), dict(y=signs(3, 5)))
        f.case(reduction + "_hinge", lambda x, y: F.hinge_embedding_loss(x, y, margin=0.5, reduction=reduction),
               dict(x=f.normal(3, 5)), dict(y=signs(3, 5)))
        f.case(reduction + "_ranking", lambda a, b, y: F.margin_ranking_loss(a, b, y, 0.5, reduction=reduction),
               dict(a=f.normal(9), b=f.normal(9)), dict(y=signs(9)))
        f.case(reduction + "_cosine", lambda a, b, y: F.cosine_embedding_loss(a, b, y, 0.1, reduction=reduction),
               dict(a=f.normal(6, 4), b=f.normal(6, 4)), dict(y=signs(6)))
        for swap in [False, True]:
            for p in [1, 2, 3]:
                f.case(f"{reduction}_triplet_{p}{'_swap' if swap else ''}",
                       lambda a, b, c: F.triplet_margin_loss(a, b, c, 0.8, p, swap=swap, reduction=reduction),
                       dict(a=f.normal(6, 4), b=f.normal(6, 4), c=f.normal(6, 4)))
    for dim in [0, 1, -1]:
        f.case(f"similarity_{dim}", lambda a, b: F.cosine_similarity(a, b, dim),
               dict(a=f.normal(3, 5, 2), b=f.normal(3, 5, 2)))
    f.case("similarity_short", lambda a, b: F.cosine_similarity(a, b, 0, 10), dict(a=f.normal(5), b=f.normal(5)))
    for p in [0.5, 1, 1.5, 2, 4, float("inf")]:
        f.case(f"distance_{p}", lambda a, b: F.pairwise_distance(a, b, p), dict(a=f.normal(5, 7), b=f.normal(5, 7)))
    f.case("distance_kept", lambda a, b: F.pairwise_distance(a, b, keepdim=True),
           dict(a=f.normal(3, 4), b=f.normal(3, 4)))


def ctc(f):
    def case(name, target_lengths, input_lengths, repeat=False, blank=0, **options):
        targets = f.indices(4, 4, 3) + (0 if blank == 4 else 1)
        if repeat:
            targets[:, 1] = targets[:, 0]
        f.case(name, lambda x, targets, input_lengths, target_lengths: F.ctc_loss(
            x.log_softmax(-1), targets, input_lengths, target_lengths, blank, **options), dict(x=f.normal(8, 4, 5)),
            dict(targets=targets, input_lengths=torch.tensor(input_lengths), target_lengths=torch.tensor(target_lengths)))

    for reduction in ["mean", "sum", "none"]:
        case(reduction, [3, 2, 1, 3], [8, 6, 8, 5], reduction=reduction)
        case(reduction + "_repeated", [3, 2, 3, 2], [8, 3, 4, 6], True, reduction=reduction)
        case(reduction + "_impossible", [3, 0, 3, 0], [2, 8, 3, 4], True, 4, zero_infinity=True, reduction=reduction)


FAMILIES = [loss, class_loss, element_loss, margin_loss, ctc]
