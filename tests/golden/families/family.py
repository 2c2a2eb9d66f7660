"""A family of cases, and what it draws."""
import struct

import torch

# Of what is not a float.
ROLES = {torch.int32: "int", torch.int64: "int", torch.uint8: "byte", torch.bool: "byte"}


def bits(tensor):
    flat = tensor.detach().reshape(-1)
    if tensor.dtype in ROLES:
        return [struct.pack(">i", v).hex() for v in flat.tolist()]
    return [struct.pack(">f", v).hex() for v in flat.to(torch.float32).tolist()]


class Family:
    def __init__(self, name):
        self.name = name
        self.lines = []
        self.random = torch.Generator().manual_seed(sum(map(ord, name)))

    def normal(self, *shape):
        return torch.randn(shape, generator=self.random).double()

    def positive(self, *shape):
        return (self.normal(*shape).abs() + 0.25).float().double()

    def indices(self, below, *shape):
        return torch.randint(below, shape, generator=self.random)

    def line(self, role, name, tensor):
        shape = ",".join(map(str, tensor.shape)) or "-"
        self.lines.append(" ".join([role, name, shape] + bits(tensor)))

    def case(self, name, function, variables, inputs={}, states=()):
        """function(**variables, **inputs) -> out; `states` are inputs that it changes."""
        self.lines.append("case " + name)
        for key, value in variables.items():
            value.requires_grad_(True)
            self.line("var", key, value)
        for key, value in inputs.items():
            self.line(ROLES.get(value.dtype, "in"), key, value)
        out = function(**variables, **inputs)
        if out.dtype in ROLES:
            self.line("out_int", "y", out)
            return
        weight = self.normal(*out.shape).float().double()
        (out * weight).sum().backward()
        self.line("out", "y", out)
        self.line("weight", "w", weight)
        for key, value in variables.items():
            self.line("grad", key, value.grad)
        for key in states:
            self.line("state", key, inputs[key])

    def write(self, folder):
        with open(f"{folder}/{self.name}.txt", "w") as file:
            file.write("\n".join(self.lines) + "\n")
