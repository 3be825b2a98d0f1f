"""The selective scan against a plain loop over its recurrence."""

import importlib

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from SpineSegLib.benchmarks.scan import reference_scan, scan_arguments
from SpineSegLib.networks.selective_scan import scan_multiply_adds, selective_scan, softplus

module = importlib.import_module("SpineSegLib.networks.selective_scan")
PLANS = [(4, 16, 1), (3, 7, 1), (1, 5, 4), (4, 16, 3), (4, 1, 8), (2, 200, 1)]


@pytest.fixture(params=[None, *PLANS], ids=str)
def plan(request, monkeypatch):
    """The plan for this machine, and others: several groups, blocks as on a GPU, ragged ends."""
    if request.param:
        monkeypatch.setattr(module, "_plan", lambda *_: module._Plan(*request.param))


def gradients(scan, arguments, weights):
    arguments = [x.clone().requires_grad_() for x in arguments]
    return torch.autograd.grad((scan(*arguments) * weights).sum(), arguments)


@pytest.mark.parametrize("length", [1, 2, 53, 96])
def test_scan_and_gradients_are_those_of_the_loop_in_float64(plan, length):
    arguments = scan_arguments(length, 6, states=5)
    torch.testing.assert_close(selective_scan(*arguments), reference_scan(*arguments), rtol=1e-11, atol=1e-12)
    weights = torch.randn(4, length, 6, dtype=torch.float64)
    ours, theirs = gradients(selective_scan, arguments, weights), gradients(reference_scan, arguments, weights)
    for name, mine, other in zip(("u", "delta", "a", "b", "c"), ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


def test_gradients_pass_the_check_by_differences(plan):
    arguments = [x.requires_grad_() for x in scan_arguments(9, 3, groups=2, states=2)]
    assert torch.autograd.gradcheck(selective_scan, arguments)


def test_float32_is_within_1e_5_of_float64_over_a_long_sequence():
    arguments = scan_arguments(3600, 24)
    exact = selective_scan(*arguments)
    found = selective_scan(*(x.float() for x in arguments))
    assert found.dtype == torch.float32
    assert ((found.double() - exact).abs().max() / exact.std()).item() < 1e-5


def test_forgetting_at_once_and_never_forgetting_stay_finite():
    u, delta, a, b, c = (x.float() for x in scan_arguments(300, 4))
    forgetful = selective_scan(u, delta * 1e5, a, b, c)
    torch.testing.assert_close(forgetful, delta * 1e5 * u * (b * c).sum(-1, keepdim=True), rtol=1e-4, atol=1e-2)
    keeping = selective_scan(u, delta, a * 0, b, c)
    summed = torch.cumsum((delta * u).double()[..., None] * b.double()[:, :, None], 1)
    torch.testing.assert_close(keeping.double(), (summed * c.double()[:, :, None]).sum(-1), rtol=1e-3, atol=1e-3)


def test_a_is_shared_over_the_batch_and_its_gradient_is_summed():
    u, delta, a, b, c = scan_arguments(11, 3, groups=6, states=2)
    two = [x.view(2, 3, *x.shape[1:]) for x in (u, delta, b, c)]
    shared = a[:3].clone().requires_grad_()
    y = selective_scan(two[0], two[1], shared, two[2], two[3])
    torch.testing.assert_close(y.flatten(0, 1), reference_scan(u, delta, a[:3].repeat(2, 1, 1), b, c))
    y.sum().backward()
    each = gradients(reference_scan, (u, delta, a[:3].repeat(2, 1, 1), b, c), torch.ones_like(u))[2]
    torch.testing.assert_close(shared.grad, each[:3] + each[3:])


def test_bfloat16_autocast_computes_in_float32():
    arguments = [x.float().requires_grad_() for x in scan_arguments(40, 4)]
    plain = selective_scan(*arguments)
    plain.sum().backward()
    wanted = [x.grad.clone() for x in arguments]
    for x in arguments:
        x.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        found = selective_scan(*arguments)
        found.sum().backward()
    assert torch.equal(found, plain)
    assert all(torch.equal(x.grad, grad) for x, grad in zip(arguments, wanted, strict=True))
    half = selective_scan(*(x.detach().bfloat16() for x in arguments))
    assert half.dtype == torch.float32


def test_shapes_are_known_without_memory_and_the_counter_of_matrix_products_sees_none():
    with torch.device("meta"):
        u, b, a = torch.empty(2, 4, 14_400, 96), torch.empty(2, 4, 14_400, 16), torch.empty(4, 96, 16)
    with FlopCounterMode(display=False) as counter:
        y = selective_scan(u, softplus(u), a, b, b)
    assert y.shape == u.shape
    assert y.device.type == "meta"
    assert counter.get_total_flops() == 0
    assert scan_multiply_adds(8, 14_400, 96, 16) == 2 * 8 * 14_400 * 96 * 16


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("groups", "length", "channels", "states"), [(4, 14_400, 192, 16), (1, 7, 3, 1), (64, 225, 1536, 16)]
)
def test_segments_cover_the_sequence_once_within_memory_also_as_on_a_gpu(device, groups, length, channels, states):
    with FakeTensorMode():
        u = torch.empty(groups, length, channels, device=device)
        plan = module._plan(u, states)
        assert (
            selective_scan(u, u, u.new_empty(channels, states), *[u.new_empty(groups, length, states)] * 2).shape
            == u.shape
        )
    ends = [0]
    for start, number, blocks, steps in module._regions(length, plan):
        assert start == ends[-1]
        assert steps * blocks * min(plan.groups, groups) * channels * states <= max(
            2**24, 64 * groups * channels * states
        )
        ends.append(start + number * blocks * steps)
    assert ends[-1] == length
    assert len(ends) <= 4


def test_softplus_is_torchs_to_the_last_digits_with_its_gradient():
    x = torch.cat([torch.linspace(-110, 110, 40_001), torch.tensor([0.0, 19.9, 20.1, 30.0, 30.1])])
    exact = torch.nn.functional.softplus(x.double(), threshold=700)
    torch.testing.assert_close(softplus(x).double(), exact, rtol=4e-6, atol=1e-43)
    precise = x[x.abs() < 20]
    torch.testing.assert_close(softplus(precise), torch.nn.functional.softplus(precise), rtol=2e-6, atol=0)
    assert torch.autograd.gradcheck(softplus, torch.randn(50, dtype=torch.float64, requires_grad=True) * 5)


def test_it_is_a_sound_operator_of_torch():
    arguments = [x.float().requires_grad_() for x in scan_arguments(37, 3, groups=2, states=2)]
    flat = (*arguments[:2], arguments[2].mT, *arguments[3:])
    torch.library.opcheck(torch.ops.spineseg.selective_scan.default, flat)


@pytest.mark.parametrize("wrong", [1, 2, 3, 4])
def test_shapes_that_do_not_fit_are_named(wrong):
    arguments = list(scan_arguments(5, 3, states=2))
    arguments[wrong] = arguments[wrong][:, :-1]
    with pytest.raises(ValueError, match="shapes"):
        selective_scan(*arguments)
