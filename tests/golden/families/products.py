import torch
import torch.nn.functional as F


def linear(f):
    f.case("batch", F.linear, dict(input=f.normal(4, 7), weight=f.normal(5, 7), bias=f.normal(5)))
    f.case("sequence", F.linear, dict(input=f.normal(2, 3, 6), weight=f.normal(4, 6)))


def matmul(f):
    f.case("matrix", lambda a, b: a @ b, dict(a=f.normal(4, 6), b=f.normal(6, 5)))
    f.case("batch", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(2, 4, 5)))
    f.case("shared", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(4, 5)))


def product(f):
    f.case("broadcast", lambda a, b: a @ b, dict(a=f.normal(2, 1, 2, 3), b=f.normal(3, 3, 2)))
    f.case("transposed", lambda a, b: a.mT @ b.mT, dict(a=f.normal(2, 3, 4), b=f.normal(5, 3)))
    f.case("column", lambda a, b: a @ b, dict(a=f.normal(2, 3, 4), b=f.normal(4)))
    f.case("row", lambda a, b: a @ b, dict(a=f.normal(3), b=f.normal(2, 3, 4)))
    f.case("vectors", lambda a, b: a @ b, dict(a=f.normal(7), b=f.normal(7)))
    f.case("outer", lambda a, b: torch.outer(a, b), dict(a=f.normal(3), b=f.normal(4)))
    f.case("bilinear", lambda x, y, w, b: F.bilinear(x, y, w, b),
           dict(x=f.normal(4, 3), y=f.normal(4, 2), w=f.normal(3, 3, 2), b=f.normal(3)))
    f.case("bmm", torch.bmm, dict(input=f.normal(2, 3, 4), mat2=f.normal(2, 4, 5)))


def einsum(f):
    def of(name, equation, *shapes):
        names = "abcd"[:len(shapes)]
        f.case(name, lambda **x: torch.einsum(equation, *x.values()),
               {n: f.normal(*s) for n, s in zip(names, shapes)})

    of("attention", "bhtd,bhsd->bhts", (2, 2, 3, 4), (2, 2, 2, 4))
    of("permute", "abc->cab", (2, 3, 4))
    of("sum", "abc->b", (2, 3, 4))
    of("all", "ab->", (3, 2))
    of("trace", "ii", (3, 3))
    of("diagonal", "iji->ji", (3, 2, 3))
    of("implicit", "ba,ac", (2, 3), (3, 2))
    of("ellipsis", "...ij,...jk->...ik", (2, 1, 2, 3), (3, 3, 2))
    of("ellipsis_implicit", "i...,i...", (3, 2), (3, 2))
    of("elementwise", "ij,ij->ij", (2, 3), (2, 3))
    of("rows", "bi,bi->b", (3, 4), (3, 4))
    of("dot", "i,i->", (5,), (5,))
    of("outer", "i,j->ji", (2,), (3,))
    of("ones", "ij,jk->ik", (2, 1), (3, 2))
    of("three", "ij,jk,kl->li", (2, 3), (3, 4), (4, 2))
    of("bilinear", "bi,oij,bj->bo", (2, 3), (2, 3, 2), (2, 2))
    of("summed_first", "ijk,l->il", (2, 3, 2), (4,))


FAMILIES = [linear, matmul, product, einsum]
