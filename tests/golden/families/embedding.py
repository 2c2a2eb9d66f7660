import torch.nn.functional as F


def embedding(f):
    f.case("rows", lambda table, indices: F.embedding(indices, table), dict(table=f.normal(6, 5)),
           dict(indices=f.indices(6, 3, 4)))


FAMILIES = [embedding]
