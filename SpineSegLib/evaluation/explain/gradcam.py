"""Grad-CAM: which places of a feature map speak for what a network segmented.

Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization, ICCV 2017,
doi 10.1109/ICCV.2017.74, equations 1 and 2; for segmentation as in paper 000 (CervSpineNet, doi
10.3389/fbioe.2025.1733689, figure 8): the mean foreground prediction is back-propagated to the encoder's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SpineSegLib.errors import problem

if TYPE_CHECKING:
    import torch
    from torch import nn

ENCODERS = ("encoder", "image_encoder")
SCORES = ("probability", "logit")


@dataclass(frozen=True, eq=False)
class GradCam:
    """What Grad-CAM found.

    Parameters
    ----------
    map : float32 (h, w) of the features, 0…1 of its largest value; all 0 where nothing speaks for the prediction
    layer : dotted name of the module whose output it is
    logits : (n, classes, side, side) of the same run, without gradients
    """

    map: np.ndarray
    layer: str
    logits: torch.Tensor


def feature_layer(network: nn.Module, named: str | None, run: Callable[[], object]) -> str:
    """Return the module whose output Grad-CAM looks at: the card's, else the encoder, else the deepest.

    Parameters
    ----------
    named : dotted name, the card's ``network.features``
    run : runs the network once; called only where neither the card nor an encoder decides. The deepest is the last
        module whose output has the side of the input divided by the network's stride: the bottom of a U-Net.

    Raises
    ------
    InputError : the network has no module of that name, or no output of that size
    """
    modules = dict(network.named_modules())
    if named:
        if named not in modules:
            known = ", ".join(name for name, _ in network.named_children())
            raise problem(
                "features", f"no module {named!r}", f"a dotted name below {known}", "Correct the model's card"
            )
        return named
    encoder = next((name for name in ENCODERS if name in modules), None)
    return encoder or _deepest(network, modules, run)


def _deepest(network: nn.Module, modules: dict[str, nn.Module], run: Callable[[], object]) -> str:
    import torch

    shapes: list[tuple[str, tuple[int, ...]]] = []

    def note(name: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            shapes.append((name, tuple(output.shape[-2:])))

    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in _with_maps(modules)
    ]
    sides: list[tuple[int, ...]] = []
    handles.append(network.register_forward_pre_hook(lambda _, inputs: sides.append(tuple(inputs[0].shape[-2:]))))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    wanted = tuple(side // network.stride for side in sides[0])
    found = [name for name, shape in shapes if shape == wanted]
    if not found:
        expected = "a network with an encoder or a stride"
        raise problem(
            "features", f"no output of {wanted[0]}x{wanted[1]} pixels", expected, "Name it on the model's card"
        )
    return found[-1]


def _with_maps(modules: dict[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the convolutions, norms and blocks of them, whose outputs are maps."""
    from torch import nn

    for name, module in modules.items():
        if name and any(isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)) for part in module.modules()):
            yield name, module


def grad_cam(
    network: nn.Module,
    layer: str,
    run: Callable[[], torch.Tensor],
    *,
    score: str = "probability",
    kind: int | None = None,
    used: tuple[int, int] | None = None,
    threshold: float = 0.5,
) -> GradCam:
    """Run a network and weigh its features by the gradient of what it predicts.

    The channels' weights are the means of the score's gradient over the map; the map is the positive part of the
    weighted sum. What comes before the layer runs without gradients, as in use; the network is left as it was.

    Parameters
    ----------
    layer : dotted name of a module with maps (1, c, h, w) as output, or several, of which the last is taken; a layer
        normalisation has (1, h, w, c)
    run : runs the network and returns logits (1, classes, side, side)
    score : what is back-propagated: the mean over the pixels predicted as foreground (over all where there are none)
        of the probability, as paper 000's words have it, or of the logit, which does not fade where the network is sure
    kind : number of the class; None takes all
    used : rows and columns of the square that are not padding
    threshold : probability above which a pixel is predicted as foreground

    Raises
    ------
    InputError : the layer gave no map, or the prediction does not depend on it
    """
    import torch

    if score not in SCORES:
        raise problem("score", repr(score), " or ".join(SCORES), "Choose one of them")
    with _tapped(network, layer) as seen:
        logits = run()
        if not seen:
            raise problem("features", f"{layer} gave no map", "a module that every run goes through", "Name another")
        value = _score(logits.float(), score, kind, used, threshold)
        if not value.requires_grad:
            raise problem("features", f"the prediction does not depend on {layer}", "a layer before it", "Name another")
        (gradient,) = torch.autograd.grad(value, seen[-1])
    with torch.no_grad():
        # A layer normalisation has its channels last.
        space, channels = ((1, 2), 3) if isinstance(network.get_submodule(layer), torch.nn.LayerNorm) else ((2, 3), 1)
        weights = gradient.mean(dim=space, keepdim=True)
        found = torch.relu((weights * seen[-1]).sum(dim=channels))[0]
        found = (found / found.max().clamp(min=torch.finfo(found.dtype).tiny)).float()
    return GradCam(found.cpu().numpy(), layer, logits.detach())


def _score(
    logits: torch.Tensor, score: str, kind: int | None, used: tuple[int, int] | None, threshold: float
) -> torch.Tensor:
    rows, columns = used or logits.shape[-2:]
    logits = logits[..., :rows, :columns]
    logits = logits if kind is None else logits[:, kind : kind + 1]
    probability = logits.sigmoid()
    inside = probability.detach() > threshold
    values = probability if score == "probability" else logits
    return values[inside].mean() if inside.any() else values.mean()


@contextmanager
def _tapped(network: nn.Module, layer: str) -> Iterator[list[torch.Tensor]]:
    """Yield a list that gets the layer's maps; gradients are on from there on, and off before.

    A copy goes on through the network, since the next module may work in place.
    """
    import torch

    seen: list[torch.Tensor] = []

    def tap(_module: nn.Module, _inputs: tuple, output: object) -> object:
        several = isinstance(output, (list, tuple))
        maps = output[-1] if several else output
        if not isinstance(maps, torch.Tensor) or maps.ndim != 4:
            return None
        seen.append(maps.detach().requires_grad_())
        torch.set_grad_enabled(True)
        copy = seen[-1].clone()
        return type(output)([*output[:-1], copy]) if several else copy

    frozen = [parameter for parameter in network.parameters() if parameter.requires_grad]
    handle = network.get_submodule(layer).register_forward_hook(tap)
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        with torch.no_grad():
            yield seen
    finally:
        handle.remove()
        for parameter in frozen:
            parameter.requires_grad_(True)
