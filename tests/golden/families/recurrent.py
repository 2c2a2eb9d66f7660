import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

GATES = dict(lstm=4, gru=3, rnn_tanh=1, rnn_relu=1)
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 3


def weights(f, gates, input, suffix, bias):
    shapes = {"weight_ih": (gates * HIDDEN, input), "weight_hh": (gates * HIDDEN, HIDDEN)}
    if bias:
        shapes.update(bias_ih=(gates * HIDDEN,), bias_hh=(gates * HIDDEN,))
    return {name + suffix: f.normal(*shape) * 0.5 for name, shape in shapes.items()}


def flat(*parts):
    return torch.cat([part.reshape(-1) for part in parts])


def network(f, name, kind, layers=1, directions=1, bias=True, batch_first=False, state=False, lengths=None,
            steps=STEPS):
    """The value is output, final h and, for an LSTM, final c, one after the other."""
    lstm = kind == "lstm"
    first = (BATCH, steps) if batch_first else (steps, BATCH)
    variables = dict(x=f.normal(*first, INPUT))
    states = ["h", "c"] if lstm else ["h"]
    if state:
        variables.update({key: f.normal(layers * directions, BATCH, HIDDEN) for key in states})
    for layer in range(layers):
        for direction in range(directions):
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            variables.update(weights(f, GATES[kind], INPUT if layer == 0 else directions * HIDDEN, suffix, bias))

    def run(x, lengths=None, **given):
        hx = [given.get(key, torch.zeros(layers * directions, BATCH, HIDDEN).double()) for key in states]
        flat_weights = [value for key, value in given.items() if key not in states]
        function = getattr(torch._VF, kind)
        if lengths is None:
            output, *final = function(x, hx if lstm else hx[0], flat_weights, bias, layers, 0.0, True, directions == 2,
                                      batch_first)
            return flat(output, *final)
        packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
        hx = [value[:, packed.sorted_indices] for value in hx]
        data, *final = function(packed.data, packed.batch_sizes, hx if lstm else hx[0], flat_weights, bias, layers,
                                0.0, True, directions == 2)
        output, _ = pad_packed_sequence(
            PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices), batch_first,
            total_length=steps)
        return flat(output, *(value[:, packed.unsorted_indices] for value in final))

    f.case(name, run, variables, {} if lengths is None else dict(lengths=torch.tensor(lengths)))


def recurrent(f):
    for kind in GATES:
        network(f, kind, kind)
        network(f, f"{kind}_two_both", kind, layers=2, directions=2, state=True)
        network(f, f"{kind}_packed", kind, layers=2, directions=2, state=True, lengths=[3, 5, 1])
    for kind in ("lstm", "gru"):
        network(f, f"{kind}_no_bias_batch_first", kind, layers=2, bias=False, batch_first=True)
        network(f, f"{kind}_packed_batch_first", kind, batch_first=True, lengths=[4, 2, 2])
        network(f, f"{kind}_one_step", kind, state=True, steps=1)
    for kind, gates in GATES.items():
        cell = getattr(torch._VF, f"{kind}_cell")
        variables = dict(x=f.normal(BATCH, INPUT), h=f.normal(BATCH, HIDDEN))
        if kind == "lstm":
            variables["c"] = f.normal(BATCH, HIDDEN)
            run = lambda x, h, c, **given: flat(*torch._VF.lstm_cell(x, (h, c), *given.values()))
        else:
            run = lambda x, h, cell=cell, **given: flat(cell(x, h, *given.values()))
        f.case(f"{kind}_cell", run, variables | weights(f, gates, INPUT, "", True))


FAMILIES = [recurrent]
