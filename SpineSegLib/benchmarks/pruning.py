"""LinkNet-152 with filters removed against the whole network."""

from __future__ import annotations

import copy

import torch

from SpineSegLib.benchmarks.race import Row, race
from SpineSegLib.networks import build
from SpineSegLib.training.pruning import choose, removed, sensitivity, structure_of, unit_masks, zero

SHARES = (0.3, 0.5, 0.7)


def linknet152(repeats: int) -> list[Row]:
    """Time LinkNet-152 at 256x256 in float32, with random weights, against the whole network of the same kind of call.

    Filters at zero take the time of any others, so that paper 003's pruning gains none; its row shows it.

    Raises
    ------
    ImportError : torch-pruning is not installed
    AssertionError : a network without filters returns something else than the one with these at zero
    """
    torch.manual_seed(0)
    whole = build("linknet", {"depth": 152}).eval()
    small = torch.rand(1, 3, 64, 64)
    structure = structure_of(whole, small)
    found = sensitivity(whole, [small], lambda x: whole(x).square().mean())
    networks = []
    for share in SHARES:
        choice = choose(structure, found, share)
        less, zeroed = removed(whole, choice), zero(copy.deepcopy(whole), unit_masks(whole, choice))
        with torch.inference_mode():
            torch.testing.assert_close(less(small), zeroed(small), rtol=1e-3, atol=1e-4)
        networks.append(less)
    # As in use: channels last.
    x = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    networks = [each.to(memory_format=torch.channels_last) for each in (*networks, zeroed, whole)]
    with torch.inference_mode():
        *times, zeros, reference = race(*(lambda each=each: each(x) for each in networks), repeats=repeats)
    of = "all filters, float32"
    return [
        *(
            Row(f"LinkNet-152 256x256, {share:.0%} of filters removed", of, taken, reference)
            for share, taken in zip(SHARES, times, strict=True)
        ),
        Row(f"LinkNet-152 256x256, {SHARES[-1]:.0%} of filters at zero", of, zeros, reference),
    ]
