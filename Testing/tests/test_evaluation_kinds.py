"""A truth with more kinds of structure than a model finds: what is left out, what still counts as missed."""

from mask_samples import plates

from SpineSegLib.anatomy import Structure
from SpineSegLib.evaluation import evaluate
from SpineSegLib.evaluation.kinds import of_shared_kinds
from SpineSegLib.image import Segmentation


def bodies(geometry, **rows):
    """The plates of `mask_samples`, as bodies."""
    found = plates(geometry, **rows)
    return Segmentation.from_masks(
        {Structure("body", one.structure.level): found.mask(one) for one in found.segments}, geometry
    )


def with_all(truth, geometry):
    """The same truth with a spinal canal and a vertebra around its first body."""
    canal, whole = (plates(geometry, cord=rows).layers[0] > 0 for rows in ((0, 14), (0, 5)))
    masks = {Structure("spinal canal"): canal, Structure("vertebra", "T5"): whole}
    return Segmentation.from_masks(masks | {one.structure: truth.mask(one) for one in truth.segments}, geometry)


def test_a_model_of_bodies_is_not_wrong_about_canal_and_arches(oblique):
    truth = bodies(oblique, T5=(1, 4), T6=(5, 8))
    plain = evaluate(bodies(oblique, T5=(1, 4), T6=(5, 8)), with_all(truth, oblique))
    assert plain.overall["dice"] < 0.9
    found = evaluate(bodies(oblique, T5=(1, 4), T6=(5, 8)), with_all(truth, oblique), shared_kinds=True)
    assert found.overall["dice"] == 1
    assert list(found.structures) == ["T5 body", "T6 body"]
    (note,) = found.warnings
    assert "spinal canal, vertebra" in note


def test_a_missed_body_still_counts(oblique):
    truth = bodies(oblique, T5=(1, 4), T6=(5, 8))
    found = evaluate(bodies(oblique, T5=(1, 4)), with_all(truth, oblique), shared_kinds=True)
    assert found.structures["T6 body"]["dice"] == 0
    assert found.overall["sensitivity"] == 0.5


def test_what_stands_for_all_is_of_the_kind_of_each(oblique):
    each, one = plates(oblique, T5=(1, 4), T6=(5, 8), cord=(0, 14)), plates(oblique, vertebrae=(1, 8))
    assert [s.structure.kind for s in of_shared_kinds(one, each)[0].segments] == ["vertebra", "vertebra"]
    assert [s.structure.kind for s in of_shared_kinds(each, one)[0].segments] == ["vertebrae"]


def test_with_nothing_in_common_the_truth_stays_and_nothing_is_said(oblique):
    truth = plates(oblique, T5=(1, 4), T6=(5, 8))
    assert of_shared_kinds(plates(oblique, cord=(0, 14)), truth) == (truth, "")
    assert of_shared_kinds(Segmentation.from_masks({}, oblique), truth) == (truth, "")
