

def reduce(f):
    f.case("sum", lambda x: x.sum(), dict(x=f.normal(3, 4)))
    f.case("sum_dims", lambda x: x.sum((0, 2)), dict(x=f.normal(2, 3, 4)))
    f.case("mean", lambda x: x.mean(), dict(x=f.normal(3, 4)))
    f.case("mean_last", lambda x: x.mean(-1), dict(x=f.normal(2, 3, 5)))


FAMILIES = [reduce]
