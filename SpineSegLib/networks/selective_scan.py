"""The selective scan of a state-space model, in torch alone, forward and backward.

Gu & Dao, Mamba: linear-time sequence modeling with selective state spaces, arXiv 2312.00752, algorithm 2: with the
zero-order hold for A and Euler's step for B,

    h_t = exp(Δ_t A) h_(t-1) + Δ_t B_t u_t,    y_t = C_t · h_t,    h_0 = 0.

A loop over t in Python costs a dozen small operations a step, and autograd keeps every state. Here the sequence is cut
into segments that fit the processor's cache: all of a segment's exponentials and inputs are computed at once, so that
one step is a single multiply-add of whole states, and only the state at the start of each segment is kept. The
backward pass runs the segments from the last to the first, computes the states again and scans the adjoint. Where a
state is small, or on a GPU, a segment is cut once more into blocks that step together: first from zero, to learn what
each block hands to the next, then again from the right start. Every exponent is ≤ 0 where A is, so nothing overflows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch.nn import functional

_LOG2_E = math.log2(math.e)
"""A is scaled by it once: exp(x) is 2 ** (x log2 e), and PyTorch's exp2 takes a quarter of exp's time."""


class _Plan(NamedTuple):
    """How a scan is cut: `groups` sequences at a time, in segments of `blocks` blocks of `steps` positions."""

    groups: int
    steps: int
    blocks: int


class _Buffer(NamedTuple):
    """Room for a value of every state of a segment, and the same cut into its steps."""

    whole: torch.Tensor
    steps: tuple[torch.Tensor, ...]


_STEP = 24_576
"""Elements of all states that step together on a processor, at most: enough to hide the cost of a call."""

_BUFFER = 393_216
"""Elements of one of a segment's buffers on a processor; a few of them share the cache of a core."""


def _plan(u: torch.Tensor, states: int) -> _Plan:
    groups, length, channels = u.shape
    one = channels * states
    if u.device.type not in ("cpu", "meta"):  # a launch is dear: few and large ones, at most 2**24 elements a buffer
        positions = min(length, max(64, 2**24 // (groups * one)))
        steps = max(1, math.isqrt(positions))
        return _Plan(groups, steps, max(1, positions // steps))
    groups = min(groups, max(1, _STEP // one))
    step = groups * one
    blocks = min(16, 8192 // step) if step <= 1024 else 1
    return _Plan(groups, max(16, min(128, _BUFFER // (step * blocks))), blocks)


def _regions(length: int, plan: _Plan) -> Iterator[tuple[int, int, int, int]]:
    """Yield start, number of segments, blocks and steps of each run of equal segments; up to three cover the length."""
    size = plan.steps * plan.blocks
    start = 0
    for blocks, steps in (
        (plan.blocks, plan.steps),
        ((length % size) // plan.steps, plan.steps),
        (1, (length % size) % plan.steps),
    ):
        if number := (length - start) // max(blocks * steps, 1) if blocks * steps else 0:
            yield start, number, blocks, steps
            start += number * blocks * steps


class _Region:
    """Equal segments of some of the sequences. A segment's tensors are (steps, blocks, groups, …, …).

    The buffers for decays and states are made once and shared by the segments: memory that stays in the cache.
    """

    def __init__(self, like: torch.Tensor, part: slice, a: torch.Tensor, region: tuple[int, int, int, int]):
        self.start, self.number, self.blocks, self.steps = region
        self.part, self.a = part, a[part]
        self.like = like
        self.decay, self.decays = self.buffer()

    def buffer(self) -> _Buffer:
        """Return room for a value of every state."""
        whole = self.like.new_empty(self.steps, self.blocks, *self.a.shape)
        return _Buffer(whole, whole.unbind())

    def cut(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return every segment of (groups, length, m), each (steps, blocks, groups, m), without a copy."""
        stop = self.start + self.number * self.blocks * self.steps
        x = x[self.part, self.start : stop].unflatten(1, (self.number, self.blocks, self.steps))
        return x.permute(1, 3, 2, 0, 4).unbind()

    def states(self, delta, step, b, start: torch.Tensor, out: _Buffer) -> torch.Tensor:
        """Set `out` to every state after `start` (groups, states, channels) and `decay` to exp(Δ A); return `out`."""
        torch.exp2(torch.mul(delta[..., None, :], self.a, out=self.decay), out=self.decay)
        torch.mul(step[..., None, :], b[..., None], out=out.whole)
        states = out.steps
        before = start[None]
        if self.blocks > 1:
            handed = states[0]
            for decay, new in zip(self.decays[1:], states[1:], strict=True):
                handed = torch.addcmul(new, decay, handed)
            before = _carried(start, torch.exp2(delta.sum(0)[..., None, :] * self.a), handed)
        for decay, state in zip(self.decays, states, strict=True):
            before = state.addcmul_(decay, before)
        return out.whole

    def adjoints(self, delta, after: torch.Tensor, out: _Buffer) -> torch.Tensor:
        """Change `out` from a state's gradient through its own output to that through later ones too; return `out`.

        `after` is what the first state after this segment hands back; `decay` is as `states` left it.
        """
        adjoints = out.steps
        before = after[None]
        if self.blocks > 1:
            handed = adjoints[-1]
            for adjoint, decay in zip(adjoints[-2::-1], self.decays[:0:-1], strict=True):
                handed = torch.addcmul(adjoint, decay, handed)
            decays = torch.exp2(delta.sum(0)[..., None, :] * self.a)
            before = _carried(after, decays.flip(0), (handed * self.decays[0]).flip(0)).flip(0)
        before = adjoints[-1].add_(before)
        for adjoint, decay in zip(adjoints[-2::-1], self.decays[:0:-1], strict=True):
            before = adjoint.addcmul_(decay, before)
        return out.whole


def _carried(start: torch.Tensor, decays: torch.Tensor, handed: torch.Tensor) -> torch.Tensor:
    """Return what each block starts from, given each block's whole decay and what it hands on when started at 0."""
    firsts = [start]
    for decay, more in zip(decays[:-1], handed[:-1], strict=True):
        firsts.append(torch.addcmul(more, decay, firsts[-1]))
    return torch.stack(firsts)


def _dot(rows: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Return rows (…, n) times matrices (…, n, m): (…, m)."""
    n, m = matrices.shape[-2:]
    return torch.bmm(rows.reshape(-1, 1, n), matrices.view(-1, n, m)).view(*matrices.shape[:-2], m)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Return a context in which operations keep the precision of their arguments."""
    known = torch.amp.is_autocast_available(device.type)  # not on the meta device
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


class _Softplus(torch.autograd.Function):
    """log(1 + e^x) on a processor, in a fifth of the time of PyTorch's, whose log1p is slow.

    With w = 1 + z rounded, log(1 + z) is z log(w) / (w - 1) to the last digits (Kahan; Goldberg, ACM Computing Surveys
    23, 1991, theorem 4).
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        z = torch.exp2(x.clamp(max=30) * _LOG2_E)
        w = z + 1
        above = w - 1
        y = torch.where(above == 0, z, torch.log(w).mul_(z).div_(above))
        return torch.where(x > 30, x, y)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.sigmoid(ctx.saved_tensors[0])


def softplus(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 + e^x), differentiable once."""
    return _Softplus.apply(x) if x.device.type == "cpu" else functional.softplus(x)


def _parts(groups: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, groups)) for start in range(0, groups, size))


@torch.library.custom_op("spineseg::selective_scan", mutates_args=())
def _scan(
    u: torch.Tensor, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return y (g, l, d) and the states (segments, g, n, d) at the starts; `a` is (g, n, d), times log2 e."""
    plan = _plan(u, a.shape[1])
    y, starts = _outputs(u, a, plan)
    with without_autocast(u.device):
        for part in _parts(u.shape[0], plan.groups):
            kept = iter(starts[:, part].unbind())
            last = torch.zeros_like(starts[0, part])
            for region in _regions(u.shape[1], plan):
                region = _Region(u, part, a, region)
                room = region.buffer()
                for u_, delta_, b_, c_, y_ in zip(*map(region.cut, (u, delta, b, c, y)), strict=True):
                    start = next(kept).copy_(last)
                    states = region.states(delta_, delta_ * u_, b_, start, room)
                    y_.copy_(_dot(c_, states))
                    last = states[-1, -1]
    return y, starts


def _outputs(u: torch.Tensor, a: torch.Tensor, plan: _Plan) -> tuple[torch.Tensor, torch.Tensor]:
    segments = sum(number for _, number, _, _ in _regions(u.shape[1], plan))
    return u.new_empty(u.shape), u.new_empty(segments, *a.shape)


@_scan.register_fake
def _(u, delta, a, b, c):
    return _outputs(u, a, _plan(u, a.shape[1]))


def _segment_gradients(region: _Region, rooms, dy, u, delta, b, c, start, after) -> tuple[torch.Tensor, ...]:
    """Return a segment's gradients of u, delta, b, c and a (delta's and a's times log2 e), and what it hands back."""
    room, adjoint_room, spare = rooms
    step = delta * u
    states = region.states(delta, step, b, start, room)
    torch.mul(dy[..., None, :], c[..., None], out=adjoint_room.whole)
    adjoint = region.adjoints(delta, after, adjoint_room)
    through_step = _dot(b, adjoint)
    grad_b = torch.mul(adjoint, step[..., None, :], out=spare.whole).sum(-1)
    grad_c = torch.mul(states, dy[..., None, :], out=spare.whole).sum(-1)
    adjoint.mul_(region.decay)  # of what a state gets from the one before
    handed = adjoint[0, 0].clone()
    adjoint[1:].mul_(states[:-1])  # of the exponent Δ A
    adjoint[0, 1:].mul_(states[-1, :-1])
    adjoint[0, 0].mul_(start)
    through_decay = torch.mul(adjoint, region.a, out=spare.whole).sum(-2)
    grad_delta = through_decay.addcmul_(through_step, u, value=_LOG2_E)
    return through_step * delta, grad_delta, grad_b, grad_c, adjoint.mul_(delta[..., None, :]).sum((0, 1)), handed


@torch.library.custom_op("spineseg::selective_scan_backward", mutates_args=())
def _scan_backward(
    gradient: torch.Tensor,
    u: torch.Tensor,
    delta: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    starts: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of u, delta, a, b and c; `starts` are the states that the forward pass kept."""
    plan = _plan(u, a.shape[1])
    grad_a, *grads = (x.new_zeros(x.shape) for x in (a, u, delta, b, c))
    with without_autocast(u.device):
        for part in _parts(u.shape[0], plan.groups):
            kept = reversed(starts[:, part].unbind())
            after = torch.zeros_like(starts[0, part])
            for region in list(_regions(u.shape[1], plan))[::-1]:
                region = _Region(u, part, a, region)
                rooms = region.buffer(), region.buffer(), region.buffer()
                cuts = (region.cut(x)[::-1] for x in (gradient, u, delta, b, c, *grads))
                for dy_, u_, delta_, b_, c_, *grads_ in zip(*cuts, strict=True):
                    found = _segment_gradients(region, rooms, dy_, u_, delta_, b_, c_, next(kept), after)
                    for grad_, one in zip(grads_, found[:4], strict=True):
                        grad_.copy_(one)
                    grad_a[part] += found[4]
                    after = found[5]
    return grads[0], grads[1].div_(_LOG2_E), grad_a.div_(_LOG2_E), grads[2], grads[3]


@_scan_backward.register_fake
def _(gradient, u, delta, a, b, c, starts):
    return tuple(x.new_empty(x.shape) for x in (u, delta, a, b, c))


def _keep(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, output[1])


def _differentiate(ctx, gradient: torch.Tensor | None, _starts: None) -> tuple[torch.Tensor | None, ...]:
    if gradient is None:
        return (None,) * 5
    *inputs, starts = ctx.saved_tensors
    return _scan_backward(gradient, *inputs, starts)


_scan.register_autograd(_differentiate, setup_context=_keep)


def scan_multiply_adds(groups: int, length: int, channels: int, states: int) -> int:
    """Return the multiply-adds of one scan: of the recurrence, and of the product with C.

    PyTorch's flop counter, which knows convolutions and matrix products, leaves a scan out; so does paper 004's.
    """
    return 2 * groups * length * channels * states


def selective_scan(
    u: torch.Tensor, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> torch.Tensor:
    """Return y_t = C_t · h_t with h_t = exp(Δ_t A) h_(t-1) + Δ_t B_t u_t; the term D u is the caller's.

    Differentiable once in all five; computed in float32 (float64 for float64), under autocast too.

    Parameters
    ----------
    u : input (…, length, channels)
    delta : step Δ (…, length, channels), at least 0
    a : A (…, channels, states), at most 0; its leading axes are broadcast against those of `u`
    b, c : B and C (…, length, states)

    Returns
    -------
    y : (…, length, channels), in `u`'s type, or float32 where that is a smaller one
    """
    kind = torch.float64 if u.dtype == torch.float64 else torch.float32
    lead, (length, channels) = u.shape[:-2], u.shape[-2:]
    states = a.shape[-1]
    if delta.shape != u.shape or a.shape[-2] != channels or b.shape != (*lead, length, states) or c.shape != b.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (u, delta, a, b, c))
        msg = f"u, delta, a, b, c have the shapes {shapes}, expected (…, l, d), (…, l, d), (…, d, n), (…, l, n) twice"
        raise ValueError(msg)
    exponent = (a.to(kind) * _LOG2_E).mT.expand(*lead, states, channels)
    flat = [x.to(kind).reshape(-1, *x.shape[-2:]) for x in (u, delta, exponent, b, c)]
    return _scan(*flat)[0].view(u.shape)
