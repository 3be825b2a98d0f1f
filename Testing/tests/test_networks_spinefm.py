"""SpineFM's networks: sizes as published, adapters, what is frozen, prompts, against independent implementations."""

from dataclasses import replace

import pytest
import torch
from segment_anything.modeling.image_encoder import Block as TheirBlock
from spinefm_tiny import TINY, tiny, tiny_card
from torch.nn import functional
from torchvision.models import resnet101
from torchvision.models.detection import maskrcnn_resnet50_fpn

from SpineSegLib.errors import InputError
from SpineSegLib.models import card, initial_network, load_network
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.networks.sam import Sam
from SpineSegLib.networks.spinefm.detector import Detector
from SpineSegLib.networks.spinefm.predictor import Predictor
from SpineSegLib.networks.spinefm.segmenter import TRAINED, AdaptedBlock, Segmenter

VIT = {"size": 64, "patch": 8, "width": 32, "depth": 2, "heads": 2, "window": 4, "global_blocks": [1]}
NARROW = {**VIT, "outputs": 32, "hidden": 64}


def size_of(module):
    return sum(parameter.numel() for parameter in module.parameters())


def without_counters(state):
    return {name: value.shape for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return build("spinefm", card("spinefm").network["arguments"])


def test_the_parts_have_the_sizes_of_what_they_are_made_of(full):
    adapter = 768 * 192 + 192 + 192 * 768 + 768
    assert size_of(full.segmenter) == card("sam").network["counts"]["parameters"] + 12 * 2 * adapter
    adapters = [p for n, p in full.segmenter.named_parameters() if "adapter" in n]
    assert sum(p.numel() for p in adapters) == 12 * 2 * adapter == 7_100_928
    assert size_of(full.predictor) == 6 * 50 + 50 + 50 * 2 + 2
    with torch.device("meta"):
        theirs, residual = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2), resnet101()
    assert without_counters(theirs.state_dict()) == without_counters(full.detector.state_dict())
    ours = without_counters(full.classifier.state_dict())
    wanted = without_counters(residual.state_dict()) | {"fc.weight": (4, 2048), "fc.bias": (4,)}
    assert ours == wanted
    assert full.classifier.classes == ("C2", "S1", "between", "background")


def test_the_narrow_variant_fits_into_eight_mebibytes(tmp_path):
    network = build("spinefm", card("spinefm-cervical-small").network["arguments"])
    assert save_weights(network, tmp_path / "w.safetensors")["bytes"] < 8 * 2**20


def test_what_is_trained_of_the_published_segmenter_are_the_adapters_alone(full):
    trained = {name for name, p in full.segmenter.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in full.segmenter.named_parameters() if "_adapter." in name}
    assert len(trained) == 12 * 2 * 4
    frozen = {name for name, p in full.detector.backbone.body.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"conv1", "layer1"}
    assert all(p.requires_grad for p in full.classifier.parameters())


@pytest.mark.parametrize("trained", list(TRAINED))
def test_what_is_not_trained_does_not_change_by_a_bit(trained):
    torch.manual_seed(0)
    network = Segmenter(**NARROW, channels=1, trained=trained).train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.01, weight_decay=0.5)
    for _ in range(2):  # with adapters at 0 the first step reaches their output alone
        optimiser.zero_grad()
        network(torch.rand(2, 1, 64, 64)).square().mean().backward()
        optimiser.step()
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    adapters = {name for name in before if "_adapter." in name}
    unused = ("point_embeddings.0", "point_embeddings.2", "point_embeddings.3", "mask_downscaling", "iou_prediction")
    unused += tuple(f"output_hypernetworks_mlps.{n}" for n in (1, 2, 3))
    used = {name for name in before if not any(part in name for part in unused)}
    decoder = {name for name in used if name.startswith("mask_decoder.")}
    assert changed == {"adapters": adapters, "adapters+decoder": adapters | decoder, "all": used}[trained]


def test_an_unknown_choice_of_what_is_trained_is_refused():
    with pytest.raises(ValueError, match="adapters, adapters\\+decoder, all"):
        Segmenter(**NARROW, trained="decoder")


def test_a_block_has_its_adapters_where_medical_sam_adapter_has_them():
    torch.manual_seed(1)
    ours = AdaptedBlock(32, 2, 8, 0, 64, ratio=0.25, scale=0.5, zero=False).double()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs = TheirBlock(32, 2, 2.0, use_rel_pos=True, norm_layer=torch.nn.LayerNorm, input_size=(8, 8)).double()
    theirs.norm1.eps = theirs.norm2.eps = 1e-6
    theirs.load_state_dict({n: v for n, v in ours.state_dict().items() if "adapter" not in n})

    def adapter(name, x):
        part = getattr(ours, name)
        hidden = functional.gelu(x @ part.down.weight.T + part.down.bias)
        return hidden @ part.up.weight.T + part.up.bias

    x = torch.randn(2, 8, 8, 32, dtype=torch.float64)
    found = theirs.attn(theirs.norm1(x))
    middle = x + found + adapter("space_adapter", found)
    inner = theirs.norm2(middle)
    wanted = middle + theirs.mlp(inner) + 0.5 * adapter("mlp_adapter", inner)
    torch.testing.assert_close(ours(x), wanted)


def prompted_by_segment_anything(network, patch, point):
    """Return logits (1, 1, size, size) by segment-anything's own prompt encoder, mask decoder and resizing."""
    points = (torch.tensor([[point]], dtype=torch.float32), torch.ones(1, 1))
    sparse, dense = network.prompt_encoder(points=points, boxes=None, masks=None)
    masks, _ = network.mask_decoder(
        image_embeddings=network.encode(patch),
        image_pe=network.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return functional.interpolate(masks, (network.size, network.size), mode="bilinear", align_corners=False)


def test_a_point_prompts_as_in_segment_anything_and_where_it_lies():
    torch.manual_seed(2)
    network = Segmenter(**NARROW, channels=1, zero=False).eval()
    patches = torch.rand(2, 1, 64, 64)
    points = [(5.0, 40.0), (61.0, 2.5)]
    with torch.no_grad():
        found = network.decode(network.encode(patches), torch.tensor(points)[:, None])
        for number, point in enumerate(points):
            wanted = prompted_by_segment_anything(network, patches[number : number + 1], point)
            torch.testing.assert_close(found[number : number + 1], wanted, rtol=1e-4, atol=1e-5)
        swapped = network.decode(network.encode(patches), torch.tensor(points).flip(1)[:, None])
        assert (swapped - found).abs().max() > 1e-3
        # Without words the point is the middle of the patch: between the pixels 31 and 32.
        middle = prompted_by_segment_anything(network, patches[:1], (31.5, 31.5))
        torch.testing.assert_close(network(patches)[:1], middle, rtol=1e-4, atol=1e-5)


def test_a_patch_encoded_once_serves_every_point():
    torch.manual_seed(3)
    network = Segmenter(**NARROW, channels=1, zero=False).eval()
    patch, points = torch.rand(1, 1, 64, 64), torch.rand(5, 1, 2) * 63
    points[0] = 31.5
    with torch.no_grad():
        embedding = network.encode(patch)
        together = network.decode(embedding, points)
        for number in range(5):
            alone = network.decode(embedding, points[number : number + 1])
            torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[:1], network(patch), rtol=1e-4, atol=1e-5)


def test_the_same_comes_out_with_and_without_gradients():
    torch.manual_seed(4)
    network = Segmenter(**NARROW, channels=1, zero=False).eval()
    patches = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        found = network(patches)
    torch.testing.assert_close(found, network(patches).detach(), rtol=1e-4, atol=1e-5)


def test_before_training_the_segmenter_computes_what_segment_anything_does():
    torch.manual_seed(5)
    theirs, ours = Sam(**NARROW).eval(), Segmenter(**NARROW).eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not unexpected
    assert all("_adapter." in name for name in missing)
    patch, point = torch.rand(1, 3, 64, 64), torch.tensor([[20.0, 33.0]])
    with torch.no_grad():
        found = ours.decode(ours.encode(patch), point[None])
        torch.testing.assert_close(found, theirs.prompted(patch, [point]), rtol=1e-4, atol=1e-5)


def test_prompts_wander_within_the_mask_in_training_alone():
    torch.manual_seed(6)
    network, seen = Segmenter(**NARROW, channels=1, trained="all", wander=1.0), []
    network.decode = lambda embedding, points: seen.append(points) or embedding
    masks = torch.zeros(3, 1, 64, 64)
    masks[:2, :, 10:14, 40:60] = 1  # the third is empty
    network.train().training_logits(torch.rand(3, 1, 64, 64), masks)
    network.eval().training_logits(torch.rand(3, 1, 64, 64), masks)
    x, y = seen[0][:2, 0].T
    assert ((x >= 40) & (x < 60) & (y >= 10) & (y < 14)).all()
    assert torch.equal(seen[0][2], seen[1][2])
    assert (seen[1] == 31.5).all()


@pytest.mark.parametrize("turn", [0.0, 0.7, 3.1])
def test_the_next_centroid_goes_with_the_spine(turn):
    torch.manual_seed(7)
    network = Predictor()
    three = torch.tensor([[[100.0, 50.0], [104.0, 82.0], [105.0, 111.0]]])
    matrix = torch.tensor([[torch.tensor(turn).cos(), torch.tensor(turn).sin()]]).squeeze()
    matrix = 2.5 * torch.stack([matrix, torch.stack([-matrix[1], matrix[0]])])
    with torch.no_grad():
        there = network.predict_next(three) @ matrix + 7
        torch.testing.assert_close(network.predict_next(three @ matrix + 7), there, rtol=1e-4, atol=1e-2)


def test_the_predictor_learns_to_go_on_along_a_bend():
    torch.manual_seed(8)
    network = Predictor().train()
    angle = torch.rand(256) * 6.28
    bend = (torch.rand(256) - 0.5) * 0.3
    turns = angle[:, None] + bend[:, None] * torch.arange(3)
    steps = 40 * torch.stack([turns.cos(), turns.sin()], dim=2)
    points = torch.cat([torch.zeros(256, 1, 2), steps.cumsum(dim=1)], dim=1) + 300
    three, target = points[:, :3], points[:, 3]
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        network.training_loss(three, target).backward()
        optimiser.step()
    off = (network.predict_next(three) - target).norm(dim=1)
    assert off.max() < 4  # a tenth of a step
    assert network.validation_score(three, target) > 0.97
    assert network.validation_score(three, target + 40) < 0.5


def targets_of(boxes, side=64):
    masks = torch.zeros(len(boxes), side, side, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": found, "labels": torch.ones(len(boxes), dtype=torch.int64), "masks": masks, "levels": []}


BOXES = [(20, 4, 36, 18), (22, 24, 38, 38), (25, 44, 41, 58)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_part_takes_a_step_that_reaches_all_of_it_and_leaves_numbers(precision):
    network = tiny().train()
    steps = {
        "detector": lambda part: part.training_loss(torch.rand(2, 1, 64, 64), [targets_of(BOXES), targets_of([])]),
        "segmenter": lambda part: part(torch.rand(1, 1, 64, 64)).square().mean(),
        "classifier": lambda part: part.training_loss(torch.rand(3, 1, 32, 32), torch.tensor([0, 2, 3])),
        "predictor": lambda part: part.training_loss(torch.rand(4, 3, 2) * 99, torch.rand(4, 2) * 99),
    }
    for name, step in steps.items():
        part = network.get_submodule(name)
        optimiser = torch.optim.AdamW([p for p in part.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(2):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                loss = step(part)
            assert loss.isfinite()
            loss.backward()
            optimiser.step()
        assert [n for n, p in part.named_parameters() if p.requires_grad and p.grad is None] == []
        assert [n for n, value in part.state_dict().items() if not value.isfinite().all()] == []


def test_boxes_are_as_exact_in_bfloat16_as_anchors_in_float32():
    network = tiny().eval().detector
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = list(network.backbone(torch.rand(1, 1, 64, 64)).values())
        scores, boxes = network.rpn.head(features)
    assert {each.dtype for each in (*features, *scores, *boxes)} == {torch.float32}


def test_the_detector_learns_one_picture_by_heart():
    torch.manual_seed(9)
    network, target = Detector(channels=1, **TINY["detector"]).train(), targets_of(BOXES)
    picture = 0.3 + 0.03 * torch.randn(1, 1, 64, 64)
    picture[0, 0] += 0.4 * target["masks"].amax(dim=0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(1, 301):
        optimiser.zero_grad()
        network.training_loss(picture.repeat(2, 1, 1, 1), [target, target]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2)
        optimiser.step()
        if step % 15 == 0 and network.eval().validation_score(picture, [target]) == 1:
            break
        network.train()
    (found,) = network.detect(picture)
    assert len(found["scores"]) == 3
    assert (found["scores"] >= 0.6).all()
    order = found["boxes"][:, 1].argsort()
    torch.testing.assert_close(found["boxes"][order], target["boxes"], rtol=0, atol=5)
    assert found["masks"].dtype == torch.bool
    assert found["masks"].shape == (3, 64, 64)
    # At twice the size the boxes are there, at twice the numbers.
    (large,) = network.detect(functional.interpolate(picture, scale_factor=2))
    assert large["masks"].shape[1:] == (128, 128)
    torch.testing.assert_close(large["boxes"], 2 * found["boxes"], rtol=0, atol=0.5)


def test_detecting_and_validating_leave_the_detector_in_the_mode_it_was_in():
    network = tiny().detector
    for mode in (True, False):
        network.train(mode)
        network.detect(torch.rand(1, 1, 64, 64))
        network.training_loss(torch.rand(1, 1, 64, 64), [targets_of(BOXES)])
        assert {module.training for module in network.modules()} == {mode}
    statistics = network.backbone.body.bn1.running_mean.clone()
    network.training_loss(torch.rand(1, 1, 64, 64), [targets_of(BOXES)])
    assert torch.equal(network.backbone.body.bn1.running_mean, statistics)


def test_detections_are_scored_by_boxes_that_match_once(monkeypatch):
    network, target = tiny().detector, targets_of(BOXES)
    doubled = torch.cat([target["boxes"][:2], target["boxes"][:1] + 1])
    monkeypatch.setattr(network, "detect", lambda images: [{"boxes": doubled}])
    assert float(network.validation_score(torch.zeros(1, 1, 64, 64), [target])) == pytest.approx(4 / 6)
    monkeypatch.setattr(network, "detect", lambda images: [{"boxes": torch.zeros(0, 4)}])
    assert network.validation_score(torch.zeros(1, 1, 64, 64), [target]) == 0
    assert network.validation_score(torch.zeros(1, 1, 64, 64), [targets_of([])]) == 1


def test_labels_that_are_not_the_one_class_are_refused():
    target = targets_of(BOXES)
    with pytest.raises(ValueError, match="first: 1"):
        tiny().detector.training_loss(torch.rand(1, 1, 64, 64), [{**target, "labels": target["labels"] - 1}])


def test_the_segmenter_learns_which_of_two_squares_a_point_means():
    torch.manual_seed(10)
    network = Segmenter(**NARROW, channels=1, zero=False, trained="all").train()
    patch, masks = 0.3 + 0.02 * torch.randn(1, 1, 64, 64), torch.zeros(2, 1, 64, 64)
    masks[0, :, 8:24, 20:44] = 1
    masks[1, :, 36:56, 16:40] = 1
    patch += 0.3 * masks.sum(dim=0)
    points = torch.tensor([[[32.0, 16.0]], [[28.0, 46.0]]])
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(200):
        optimiser.zero_grad()
        logits = network.decode(network.encode(patch), points)
        found = logits > 0
        if (dice := 2 * (found * masks).sum() / (found.sum() + masks.sum())) > 0.9:
            break
        functional.binary_cross_entropy_with_logits(logits, masks).backward()
        optimiser.step()
    assert dice > 0.9


def test_the_classifier_learns_four_patches_by_heart():
    torch.manual_seed(11)
    network = tiny().classifier.train()
    patches, kinds = torch.rand(4, 1, 32, 32), torch.arange(4)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        network.training_loss(patches, kinds).backward()
        optimiser.step()
    assert network(patches).shape == (4, len(network.classes))
    assert network.validation_score(patches, kinds) == 1
    # Each class counts alike, however many patches it has.
    many = torch.cat([patches, patches[:1].expand(6, -1, -1, -1)])
    wrong = torch.cat([kinds, torch.ones(6, dtype=torch.int64)])
    assert float(network.validation_score(many, wrong)) == pytest.approx((3 + 1 / 7) / 4)


def test_forward_gives_logits_of_the_picture_s_size():
    network = tiny().eval()
    with torch.no_grad():
        assert network(torch.rand(2, 1, 64, 96)).shape == (2, 1, 64, 96)


def test_weights_come_back_whole_from_safetensors(tmp_path):
    model, network = tiny_card(), tiny().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(value.half())
    save_weights(network, tmp_path / "w.safetensors")
    again = load_network(model, tmp_path / "w.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_training_starts_from_public_weights_of_each_part(tmp_path):
    torch.manual_seed(12)
    parts = {
        "detector": {key: value for key, value in TINY["detector"].items() if key != "norm"},
        "segmenter": NARROW,
        "classifier": TINY["classifier"],
    }
    model = tiny_card(channels=3, **parts)
    model = replace(model, input={**model.input, "channels": 3})
    own = build("spinefm", model.network["arguments"])
    sam = Sam(**NARROW)
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    coco = {name: torch.rand_like(v) for name, v in own.detector.state_dict().items() if "predictor" not in name}
    heads = {name: v for name, v in own.detector.state_dict().items() if "mask_predictor.conv5" in name}
    other = {"roi_heads.box_predictor.cls_score.weight": torch.rand(91, 32)}
    torch.save({**coco, **{n: torch.rand_like(v) for n, v in heads.items()}, **other}, tmp_path / "coco.pth")
    imagenet = {name: torch.rand_like(v) for name, v in own.classifier.state_dict().items() if v.is_floating_point()}
    torch.save({**imagenet, "fc.weight": torch.rand(1000, 32), "fc.bias": torch.rand(1000)}, tmp_path / "resnet.pth")
    save_weights(own, tmp_path / "own.safetensors")
    files = [tmp_path / name for name in ("own.safetensors", "sam.pth", "coco.pth", "resnet.pth")]
    state = initial_network(model, *files).state_dict()
    for part, theirs in (("segmenter", sam.state_dict()), ("detector", coco), ("classifier", imagenet)):
        for name, value in theirs.items():
            if not name.startswith("fc."):
                assert torch.equal(state[f"{part}.{name}"], value), name
    for name in (
        "predictor.hidden.weight",
        "classifier.fc.weight",
        "detector.roi_heads.box_predictor.cls_score.weight",
    ):
        assert torch.equal(state[name], own.state_dict()[name].half().float())
    torch.save({"weight": torch.rand(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="differ in name or shape"):
        initial_network(model, *files, tmp_path / "other.pth")
