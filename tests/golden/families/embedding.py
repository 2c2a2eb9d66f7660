import torch
import torch.nn.functional as F


def embedding(f):
    f.case("rows", lambda table, indices: F.embedding(indices, table), dict(table=f.normal(6, 5)),
           dict(indices=f.indices(6, 3, 4)))


def embedding_options(f):
    f.case("padding", lambda table, indices: F.embedding(indices, table, padding_idx=2), dict(table=f.normal(5, 3)),
           dict(indices=f.indices(5, 4, 4)))
    f.case("padding_from_end", lambda table, indices: F.embedding(indices, table, padding_idx=-1),
           dict(table=f.normal(4, 3)), dict(indices=f.indices(4, 11)))


def embedding_bag(f):
    def bag(mode, **options):
        def compute(table, indices, offsets=None, weights=None):
            return F.embedding_bag(indices, table, offsets, mode=mode, per_sample_weights=weights, **options)
        return compute

    def table():
        return dict(table=f.normal(6, 5))

    def rows():
        return dict(indices=f.indices(6, 4, 3))

    # The second and the last bag are empty.
    def bags():
        return dict(indices=f.indices(6, 13), offsets=torch.tensor([0, 4, 4, 5, 13]))

    for mode in ("sum", "mean", "max"):
        f.case(f"{mode}_rows", bag(mode), table(), rows())
        f.case(f"{mode}_offsets", bag(mode), table(), bags())
        f.case(f"{mode}_padding", bag(mode, padding_idx=2), table(), bags())
        f.case(f"{mode}_padding_rows", bag(mode, padding_idx=-6), table(), rows())
    f.case("mean_include_last", bag("mean", include_last_offset=True), table(),
           dict(indices=f.indices(6, 9), offsets=torch.tensor([0, 2, 2, 9])))

    def weighted(padding):
        return lambda table, weights, indices, offsets=None: F.embedding_bag(
            indices, table, offsets, mode="sum", per_sample_weights=weights, padding_idx=padding)

    f.case("weights_rows", weighted(None), dict(table=f.normal(6, 5), weights=f.normal(4, 3)), rows())
    f.case("weights_offsets", weighted(3), dict(table=f.normal(6, 5), weights=f.normal(13)), bags())


FAMILIES = [embedding, embedding_options, embedding_bag]
