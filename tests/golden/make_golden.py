#!/usr/bin/python3
"""Writes the golden files of this folder: values and gradients of each op, as PyTorch (made with 1.13.1) computes them
in double precision from float inputs, rounded to float once.

Usage: make_golden.py [FOLDER]

The cases are in families/; each file there lists its families.

A file is one family, a line one tensor:  ROLE NAME SHAPE BITS...  after a line  case NAME.  BITS are the eight
hexadecimal digits of each float or integer. Roles: var (an input with a gradient), in (one without), int and byte (one
of i32 and u8), out, out_int (an output that is no float and has no gradient), weight (the loss is the sum of out *
weight), grad (of the var of that name), state (an input's content afterwards).
"""
import importlib
import pathlib
import sys

from families.family import Family


def main():
    here = pathlib.Path(__file__).parent
    folder = sys.argv[1] if len(sys.argv) > 1 else here
    for path in sorted((here / "families").glob("*.py")):
        for make in getattr(importlib.import_module("families." + path.stem), "FAMILIES", []):
            family = Family(make.__name__)
            make(family)
            family.write(folder)


if __name__ == "__main__":
    main()
