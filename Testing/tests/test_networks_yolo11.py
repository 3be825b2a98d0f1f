"""YOLO11: its sizes, its boxes, its assignment, its losses, and that it learns."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import complete_box_iou_loss

from SpineSegLib.models.preprocess import Letterbox
from SpineSegLib.networks import build
from SpineSegLib.networks.yolo11.assign import assign
from SpineSegLib.networks.yolo11.blocks import PositionAttention
from SpineSegLib.networks.yolo11.boxes import complete_iou, decode, encode, expected_distances, places
from SpineSegLib.networks.yolo11.loss import Predictions, detection_loss, distribution_focal_loss, mask_loss
from SpineSegLib.networks.yolo11.scoring import f1

NARROW = {"width": 1 / 16, "classes": 2, "channels": 1}

PUBLISHED = {
    "yolo11": {"n": 2.62, "s": 9.46, "m": 20.1, "l": 25.4, "x": 57.0},
    "yolo11-seg": {"n": 2.9, "s": 10.1, "m": 22.4, "l": 27.6, "x": 62.1},
}


def narrow(name="yolo11", **changes):
    torch.manual_seed(0)
    return build(name, NARROW | changes)


def random_boxes(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    corner, side = torch.rand(count, 2, generator=random) * 40, torch.rand(count, 2, generator=random) * 30 + 1
    return torch.cat([corner, corner + side], dim=1)


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in PUBLISHED.items() for size in sizes])
def test_parameters_are_the_published_ones(name, size):
    with torch.device("meta"):
        network = build(name, {"size": size})
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[name][size], rel=0.01)


def test_operations_of_the_smallest_size_are_the_published_ones():
    with torch.device("meta"):
        network, picture = build("yolo11").eval(), torch.empty(1, 3, 640, 640)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert network(picture).shape == (1, 80, 640, 640)
    assert counter.get_total_flops() / 1e9 == pytest.approx(6.5, rel=0.02)


def test_what_is_no_size_and_no_gain_is_refused():
    with pytest.raises(ValueError, match="one of n, s, m, l, x"):
        build("yolo11", {"size": "xxl"})
    with pytest.raises(ValueError, match="gains of luck"):
        build("yolo11", {"gains": {"luck": 1}})


def test_complete_iou_is_torchvisions_and_so_is_its_gradient():
    ours, theirs, truth = (random_boxes(200, seed) for seed in (1, 1, 2))
    ours.requires_grad_(), theirs.requires_grad_()
    loss, wanted = 1 - complete_iou(ours, truth), complete_box_iou_loss(theirs, truth)
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)
    loss.sum().backward(), wanted.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)
    assert complete_iou(truth, truth).allclose(torch.ones(200))


def test_distribution_focal_loss_by_hand():
    probabilities = torch.tensor([0.1, 0.2, 0.4, 0.3])
    by_hand = -(0.7 * math.log(0.4) + 0.3 * math.log(0.3))
    assert float(distribution_focal_loss(probabilities.log(), torch.tensor(2.3))) == pytest.approx(by_hand, rel=1e-5)
    assert float(distribution_focal_loss(probabilities.log(), torch.tensor(1.0))) == pytest.approx(-math.log(0.2))
    beyond = -(0.01 * math.log(0.4) + 0.99 * math.log(0.3))
    assert float(distribution_focal_loss(probabilities.log(), torch.tensor(9.0))) == pytest.approx(beyond, rel=1e-4)
    assert float(expected_distances(probabilities.log())) == pytest.approx(0.2 + 0.8 + 0.9)


def test_the_least_distribution_focal_loss_has_the_true_distance_for_its_mean():
    logits = torch.zeros(16, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12)

    def step():
        optimiser.zero_grad()
        loss = distribution_focal_loss(logits, torch.tensor(5.25))
        loss.backward()
        return loss

    optimiser.step(step)
    assert float(expected_distances(logits).detach()) == pytest.approx(5.25, abs=0.01)


def test_places_lie_in_the_middle_of_their_pixels_row_by_row():
    at = places((16, 32), (8, 16))
    assert at.tolist() == [
        *[[4.0 + 8 * column, 4.0 + 8 * row, 8.0] for row in range(2) for column in range(4)],
        [8.0, 8.0, 16.0],
        [24.0, 8.0, 16.0],
    ]


def test_decoding_undoes_encoding():
    at, boxes = places((64, 96), (8, 16, 32)), random_boxes(1)[0]
    torch.testing.assert_close(decode(encode(boxes, at), at), boxes.expand(len(at), 4), rtol=0, atol=1e-4)


def test_instances_get_their_best_aligned_places_and_the_score_to_reach_is_the_best_overlap():
    at = torch.tensor([[4.0, 4, 8], [12, 4, 8], [20, 4, 8], [28, 4, 8]])
    truth = torch.tensor([[0.0, 0, 16, 8], [16, 0, 32, 8]])
    boxes = torch.tensor([[0.0, 0, 16, 8], [0, 0, 8, 8], [16, 0, 24, 8], [0, 0, 16, 8]])
    scores = torch.tensor([[0.25, 0.9], [0.25, 0.9], [0.9, 0.81], [0.9, 0.81]])
    found = assign(scores, boxes, at, truth, torch.tensor([0, 1]), alpha=0.5, beta=1.0, top=2)
    # Overlaps are 1 and 0.5 with the first, 0.5 and 0 with the second; alignments √0.25·1, √0.25·0.5 and √0.81·0.5.
    assert found.places.tolist() == [0, 1, 2]
    assert found.instances.tolist() == [0, 0, 1]
    torch.testing.assert_close(found.weights, torch.tensor([1.0, 0.5, 0.5]))
    one = assign(scores, boxes, at, truth, torch.tensor([0, 1]), alpha=0.5, beta=1.0, top=1)
    assert one.places.tolist() == [0, 2]


def test_a_place_that_two_instances_want_goes_to_the_one_it_overlaps_most():
    at = torch.tensor([[8.0, 8, 8]])
    truth, boxes = torch.tensor([[0.0, 0, 16, 16], [0, 0, 16, 32]]), torch.tensor([[0.0, 0, 16, 28]])
    found = assign(torch.ones(1, 1), boxes, at, truth, torch.zeros(2, dtype=torch.int64))
    assert found.instances.tolist() == [1]
    assert float(found.weights) == pytest.approx(28 / 32)
    none = assign(torch.ones(1, 1), boxes, at, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert not len(none.places)


def test_loss_of_perfect_predictions_is_almost_nothing_and_grows_with_each_mistake():
    at, truth = places((32, 32), (8, 16, 32)), torch.tensor([[8.0, 8, 24, 24]])
    target = [{"boxes": truth, "labels": torch.tensor([1])}]
    near = encode(truth[0], at).clamp(0, 15)
    bins = torch.arange(16)
    # The two bins beside each distance, so that the mean is the distance.
    distances = (1 - (bins - near[..., None]).abs()).clamp(min=1e-9).log()[None]
    within = (encode(truth[0], at) > 0).all(dim=1)
    scores = torch.full((1, len(at), 2), -20.0)
    scores[0, within, 1] = 20.0
    gains = {"box": 1, "score": 1, "distribution": 0}
    perfect = float(detection_loss(Predictions(distances, scores, at), target, gains))
    assert perfect < 1e-3
    wrong_class = scores.flip(-1)
    assert float(detection_loss(Predictions(distances, wrong_class, at), target)) > 5
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]
    quiet = Predictions(distances, torch.full_like(scores, -20.0), at)
    assert (
        float(detection_loss(quiet, nothing))
        < 1e-3
        < float(detection_loss(Predictions(distances, scores, at), nothing))
    )


def test_masks_are_compared_within_their_box_alone():
    logits, masks = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    logits[0, :2, :2], masks[0, :2, :2] = 3.0, 1.0
    logits[0, 6:, 6:] = 50.0  # outside of the box
    boxes = torch.tensor([[0.0, 0.0, 16.0, 8.0]])  # 4 x 2 pixels of the masks
    right, level = math.log1p(math.exp(-3)), math.log(2)
    by_hand = (4 * right + 4 * level) / 8
    assert float(mask_loss(logits, masks, boxes, (32, 32))) == pytest.approx(by_hand, rel=1e-5)


def test_attention_is_the_scaled_product_of_query_and_key():
    torch.manual_seed(1)
    block = PositionAttention(32, 2).eval()
    x = torch.randn(2, 32, 3, 5)
    with torch.no_grad():
        query, key, value = block.qkv(x).reshape(2, 2, 32, 15).transpose(2, 3).split([8, 8, 16], dim=-1)
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(2, 32, 3, 5)
        position = block.position(value.transpose(2, 3).reshape(2, 32, 3, 5))
        torch.testing.assert_close(block(x), block.project(seen + position))


def test_f1_counts_each_instance_once_and_its_class():
    truth = {"boxes": torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]), "labels": torch.tensor([0, 1])}
    found = {
        "boxes": torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10]]),
        "scores": torch.tensor([0.9, 0.8, 0.7]),
        "labels": torch.tensor([0, 0, 0]),
    }
    assert f1(found, truth) == pytest.approx(2 / 5)
    found["labels"][2] = 1
    assert f1(found, truth) == pytest.approx(4 / 5)
    empty = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    assert (f1(empty, empty), f1(empty, truth), f1(found, empty)) == (1.0, 0.0, 0.0)


def scene(masks=False):
    """Two pictures of 64 pixels with a bright box each of class 0 and 1; the second has one of them only."""
    boxes = torch.tensor([[6.0, 5, 41, 27], [20, 35, 57, 60]])
    images = torch.full((2, 1, 64, 64), 0.2)
    shapes = torch.zeros(2, 64, 64, dtype=torch.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
        shapes[number, top:bottom, left:right] = 1
    images[0, 0][shapes.amax(dim=0) > 0] = 0.8
    images[1, 0][shapes[0] > 0] = 0.8
    whole = {"boxes": boxes, "labels": torch.tensor([0, 1]), "masks": shapes, "levels": ["C3", "C4"]}
    return images, [whole, {name: value[:1] for name, value in whole.items()}]


@pytest.mark.parametrize("name", ["yolo11", "yolo11-seg"])
def test_it_learns_two_pictures_by_heart(name):
    network, (images, targets) = narrow(name, momentum=0.2), scene()
    assert {each.momentum for each in network.modules() if isinstance(each, torch.nn.BatchNorm2d)} == {0.2}
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 150)
    before = float(network.training_loss(images, targets).detach())
    for step in range(150):
        # The smallest maps have eight pixels: their own variance is not the running one. So what is used is trained.
        network.train(step < 30)
        optimiser.zero_grad()
        loss = network.training_loss(images, targets)
        loss.backward()
        optimiser.step()
        schedule.step()
    assert float(loss.detach()) < 0.2 * before
    assert float(network.eval().validation_score(images, targets)) == 1.0
    for found, truth in zip(network.detect(images), targets, strict=True):
        order = found["labels"].argsort()
        assert found["labels"][order].tolist() == truth["labels"].tolist(), "nothing twice, nothing else"
        assert float((1 - complete_box_iou_loss(found["boxes"][order], truth["boxes"])).min()) > 0.9
        if name == "yolo11-seg":
            masks, shapes = found["masks"][order] > 0.5, truth["masks"] > 0
            assert masks.shape == shapes.shape
            assert float(((masks & shapes).sum(dim=(1, 2)) / (masks | shapes).sum(dim=(1, 2))).min()) > 0.85


@pytest.mark.parametrize("name", ["yolo11", "yolo11-seg"])
def test_a_step_in_bfloat16_reaches_every_parameter_and_leaves_numbers(name):
    network, (images, targets) = narrow(name).train(), scene()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    images = images.contiguous(memory_format=torch.channels_last)
    for picture, truth in ((images, targets), (images[:1], targets[:1])):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = network.training_loss(picture, truth)
        loss.backward()
        assert [name for name, value in network.named_parameters() if value.grad is None] == []
        optimiser.step()
        assert loss.isfinite()
    assert [name for name, value in network.state_dict().items() if not value.isfinite().all()] == []


def test_pictures_without_any_vertebra_are_learnt_from_too():
    network, (images, targets) = narrow("yolo11-seg").train(), scene()
    none = [{name: value[:0] for name, value in target.items()} for target in targets]
    loss = network.training_loss(images, none)
    loss.backward()
    assert loss.isfinite()
    assert network.head.scores[0][-1].bias.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["yolo11", "yolo11-seg"])
def test_weights_come_back_whole_from_safetensors(name, tmp_path):
    network, (images, _) = narrow(name).eval(), scene()
    save_file(network.state_dict(), str(tmp_path / "w.safetensors"))
    again = build(name, NARROW).eval()
    again.load_state_dict(load_file(str(tmp_path / "w.safetensors")))
    with torch.no_grad():
        assert torch.equal(again(images), network(images))


def test_pictures_of_any_size_are_detected_in_and_boxes_stay_within():
    network = narrow("yolo11-seg", prior=0.5).eval()
    for height, width in ((97, 151), (1, 1), (33, 32)):
        [found] = network.detect(torch.rand(1, 1, height, width), score=0.4, iou=0.3, most=7)
        assert 0 < len(found["boxes"]) <= 7
        assert found["masks"].shape == (len(found["boxes"]), height, width)
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([width, height, width, height])).all()
        assert (found["scores"].diff() <= 0).all()


def test_boxes_of_an_odd_film_come_back_through_its_letterbox():
    """Boxes are found where they would be in the square that the film is fitted into, and lead back to the film."""
    truth = torch.tensor([[30.0, 20, 90, 75]])
    box = Letterbox((151, 97), 96)
    rows, columns = (used / size for used, size in zip(box.used, box.shape, strict=True))
    square = truth * torch.tensor([columns, rows, columns, rows])
    at = places((96, 96), (8, 16, 32))
    found = decode(encode(square[0], at), at)[0]
    assert (found[:2].tolist(), found[2:].tolist()) == (
        pytest.approx([v + 0.5 for v in box.place(29.5, 19.5)], abs=1e-3),
        pytest.approx([v + 0.5 for v in box.place(89.5, 74.5)], abs=1e-3),
    )


def test_of_boxes_that_overlap_the_best_of_a_class_stays():
    network = narrow().eval()
    with torch.no_grad():
        for branch in network.head.scores:
            branch[-1].weight.zero_()
            branch[-1].bias.copy_(torch.tensor([2.0, -2.0]))
    images = torch.rand(1, 1, 64, 64)
    [loose], [strict] = (network.detect(images, iou=iou) for iou in (1.0, 0.1))
    assert len(loose["boxes"]) == 64 + 16 + 4, "every place"
    assert loose["labels"].unique().tolist() == [0]
    assert loose["scores"].numpy() == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-4)
    assert 0 < len(strict["boxes"]) < 20
    assert not len(network.detect(images, score=0.95)[0]["boxes"])
