"""The loop of SpineFM on a ladder of rectangles: where it starts, each way it stops, what it names and what it says."""

import numpy as np
import pytest
from ladder import STEP, ByHand, Halves, Seen, film, ladder, ladder_card

from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines import segment

NECK = ["C2", *["between"] * 6]
LEVELS = ["C2", "C3", "C4", "C5", "C6", "C7", "T1"]


@pytest.fixture
def through(monkeypatch):
    """Return a function that segments an image with networks made by hand."""

    def run(image, network=None, *, card=None, **options):
        monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: network or ByHand())
        monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
        return segment(image, card or ladder_card(), device="cpu", **options)

    return run


def levels(found):
    return [segment.structure.level for segment in found.segmentation.segments]


def names(found):
    return [segment.name for segment in found.segmentation.segments]


def said(found, text):
    return any(text in line for line in found.warnings)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_a_neck_is_found_vertebra_by_vertebra_with_its_levels(through):
    picture, masks = ladder(NECK)
    found = through(film(picture))
    assert levels(found) == LEVELS
    assert names(found) == [f"{level} body" for level in LEVELS]
    for segment_, truth in zip(found.segmentation.segments, masks, strict=True):
        assert dice(found.segmentation.mask(segment_)[0], truth) > 0.95, segment_.name
        assert segment_.colour == segment_.structure.colour
        assert segment_.structure.code.value == "3572006"
    assert said(found, "Nothing above C2 body: it was recognised as C2, where the spine ends")
    assert said(found, "Nothing below T1 body: the segmenter found nothing")


def test_the_seeds_in_the_middle_grow_both_ways_in_shared_passes(through):
    picture, _ = ladder(NECK)
    network = ByHand(detector=Seen([0.5, 0.5, 0.9, 0.9, 0.9, 0.5, 0.5]))
    found = through(film(picture), network)
    assert levels(found) == LEVELS
    # Three to start with; twice both sides (C3 and C6 … C2 and C7 …); what is left of the lower side alone.
    assert network.segmenter.encoded == [3, 2, 2, 1]
    # A mask at the point, and one at its centroid: each patch is encoded once and decoded twice.
    assert network.segmenter.decoded == [3, 3, 2, 2, 2, 2, 1, 1]


def test_the_three_successive_ones_with_the_best_mean_score_are_the_start(through):
    picture, _ = ladder(["between"] * 7)
    network = ByHand(detector=Seen([0.61, 0.7, 0.65, 0.8, 0.99, 0.98, 0.59]))
    starts = []
    decode = network.segmenter.decode
    network.segmenter.decode = lambda e, p: starts.append(e) or decode(e, p)
    through(film(picture), network, card=ladder_card(most=0))
    assert len(starts[0]) == 3
    found = through(film(picture), network, card=ladder_card(most=0))
    rows = [np.nonzero(found.segmentation.mask(s)[0])[0].mean() for s in found.segmentation.segments]
    np.testing.assert_allclose(rows, 60 + STEP * np.array([3, 4, 5]), atol=1)


def test_a_triple_with_a_gap_is_taken_last(through):
    picture, _ = ladder(["between", "between", "between", "between", None, "between"])
    # The mean of the last three is the best, but one lies two steps off.
    network = ByHand(detector=Seen([0.7, 0.7, 0.95, 0.95, 0.95]))
    found = through(film(picture), network, card=ladder_card(most=0))
    rows = [np.nonzero(found.segmentation.mask(s)[0])[0].mean() for s in found.segmentation.segments]
    np.testing.assert_allclose(rows, 60 + STEP * np.array([1, 2, 3]), atol=1)


class TestEachStopRule:
    def test_background_ends_the_chain_and_is_left_out(self, through):
        picture, _ = ladder([*NECK[:5], "background", "between"])
        found = through(film(picture), ByHand(detector=Seen([0.9] * 5)))
        assert levels(found) == LEVELS[:5]
        assert said(found, "Nothing below C6 body: what came next was taken for background (1.00)")

    def test_an_overlap_ends_the_chain(self, through):
        # The lowest is so long that the next point still lies in it.
        picture, _ = ladder([*NECK[:4], "between"], height=[20, 20, 20, 20, 20])
        picture[60 + 4 * STEP : 60 + 6 * STEP + 10, 105:135] = 0.6
        found = through(film(picture), ByHand(detector=Seen([0.9] * 4)))
        assert len(levels(found)) == 5
        assert said(found, "the next mask overlapped one found before (IoU ")

    @pytest.mark.parametrize(("shared", "goes_on"), [(2, True), (3, False)])
    def test_an_iou_of_exactly_a_tenth_goes_on(self, shared, goes_on):
        from SpineSegLib.pipelines.spinefm.walk import Found, _Side

        def vertebra(first, kind="between"):
            mask = np.zeros((1, 60), bool)
            mask[0, first : first + 11] = True
            return Found(np.array([first + 5.0, 0.0]), mask, None, None, {kind: 1.0, "background": 0.0})

        # 2 of 20 pixels is 0.1; 3 of 19 is more.
        side = _Side([vertebra(0), vertebra(12), vertebra(24)])
        side.judge(vertebra(24 + 11 - shared), 0.1)
        assert (side.end is None) is goes_on
        assert len(side.new) == goes_on

    def test_c2_and_s1_are_kept_and_end_the_chain(self, through):
        # Something that looks like a vertebra lies beyond both.
        kinds = ["between", "C2", *["between"] * 4]
        found = through(film(ladder(kinds)[0]), ByHand(detector=Seen([0.1, 0.1, 0.9, 0.9, 0.9])))
        assert levels(found) == LEVELS[:5]
        kinds = [*["between"] * 5, "S1", "between"]
        found = through(film(ladder(kinds)[0]), ByHand(detector=Seen([0.9] * 4)))
        assert levels(found) == ["L1", "L2", "L3", "L4", "L5", "S1"]
        assert said(found, "Nothing below S1 body: it was recognised as S1")

    def test_an_end_of_the_spine_among_the_first_three_cuts_off_what_lies_beyond(self, through):
        kinds = ["between", "C2", *["between"] * 4]
        found = through(film(ladder(kinds)[0]), ByHand(detector=Seen([0.9] * 3)))
        assert levels(found) == LEVELS[:5]

    def test_the_border_of_the_image_ends_the_chain(self, through):
        picture, _ = ladder(["between"] * 4, shape=(150, 240), top=22.0)
        found = through(film(picture))
        assert len(levels(found)) == 4
        assert said(found, "Nothing above unlabelled, 1st from the top: the next one would lie outside of the picture")

    def test_a_stated_maximum_ends_the_chain(self, through):
        picture, _ = ladder(["between"] * 9)
        network = ByHand(detector=Seen([0.5, 0.5, 0.5, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5]))
        found = through(film(picture), network, card=ladder_card(most=2))
        assert len(levels(found)) == 7
        assert said(found, "as many were found as one direction may have (2)")


class TestTooLittle:
    def test_no_spine_is_an_empty_result_that_says_so(self, through):
        found = through(film(ladder([None])[0] + np.linspace(0, 0.1, 240)))
        assert found.segmentation.segments == ()
        assert said(found, "No spine was found") and len(found.warnings) == 1
        noise = np.random.default_rng(0).random((300, 200)) * 0.15
        assert through(film(noise)).segmentation.segments == ()

    def test_detections_that_are_all_background_are_no_spine(self, through):
        found = through(film(ladder(["background"] * 5)[0]))
        assert found.segmentation.segments == ()
        assert said(found, "No spine was found: what the detector took for vertebrae was taken for background")

    @pytest.mark.parametrize("count", [1, 2])
    def test_fewer_than_three_say_what_to_do(self, through, count):
        found = through(film(ladder(["between"] * count)[0]))
        assert found.segmentation.segments == ()
        assert said(found, "three successive ones are needed") and said(found, "--point X,Y")

    def test_points_of_the_user_start_the_loop(self, through):
        picture, _ = ladder(NECK)
        blind = ByHand(detector=Seen([0.1] * 7))
        points = [(120 + 0.0006 * (row - 200) ** 2, row) for row in 60.0 + STEP * np.array([2, 3, 4])]
        assert levels(through(film(picture), blind, points=points)) == LEVELS
        # One point is enough where the detector saw the two beside it.
        half_blind = ByHand(detector=Seen([0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1]))
        assert levels(through(film(picture), half_blind, points=points[2:])) == LEVELS

    def test_a_point_outside_of_the_image_is_refused(self, through):
        with pytest.raises(InputError, match="--point: 900,5"):
            through(film(ladder(NECK)[0]), points=[(900, 5)])

    def test_three_vertebrae_alone_are_found(self, through):
        picture, masks = ladder(["between"] * 3)
        found = through(film(picture))
        assert names(found) == [f"unlabelled, {n} from the top" for n in ("1st", "2nd", "3rd")]
        assert all(
            dice(found.segmentation.mask(s)[0], truth) > 0.95
            for s, truth in zip(found.segmentation.segments, masks, strict=True)
        )


class TestLevels:
    def test_without_an_end_of_the_spine_they_are_left_open(self, through):
        found = through(film(ladder(["between"] * 5)[0]))
        assert levels(found) == [None] * 5
        assert said(found, "Neither C2 nor S1 was recognised") and said(found, "--top-level")
        assert len({segment.colour for segment in found.segmentation.segments}) == 5

    def test_the_user_names_the_uppermost_and_the_rest_follow(self, through):
        found = through(film(ladder(["between"] * 5)[0]), top_level="C3")
        assert levels(found) == ["C3", "C4", "C5", "C6", "C7"]

    def test_the_users_word_goes_first_and_a_contradiction_is_said(self, through):
        found = through(film(ladder(NECK)[0]), top_level="C3")
        assert levels(found)[0] == "C3"
        assert said(found, "the uppermost vertebra is C3, but it was taken for C2")

    def test_a_spine_with_both_ends_that_does_not_add_up_says_so(self, through):
        found = through(film(ladder(["C2", *["between"] * 4, "S1"])[0]))
        assert said(found, "Counted from C2 down the lowest vertebra is C7, but it was taken for S1")
        assert all(name.endswith("(doubtful)") for name in names(found))

    @pytest.mark.parametrize(("heights", "doubtful"), [((44, 20), False), ((74, 20), True)])
    def test_the_dens_of_c2_is_no_fusion_and_a_c3_fused_with_c2_is_one(self, through, heights, doubtful):
        # The long C2 reaches upwards, so that its centroid lies half a step or a step too high.
        picture, _ = ladder([None, "C2", *["between"] * 5], top=50.0)
        foot = 50 + STEP + 10
        left = np.nonzero(picture[50 + STEP - 5] > 0.2)[0]
        picture[: foot + 1, left[0] : left[-1] + 1] = 0.02
        picture[foot - heights[0] : foot - heights[0] // 2, left[0] : left[-1] + 1] = 0.9
        picture[foot - heights[0] // 2 : foot, left[0] : left[-1] + 1] = 0.6
        found = through(film(picture), card=ladder_card(segmenter_patch={"steps": 4}))
        assert levels(found) == LEVELS[:6]
        assert said(found, "C2 body is 3.") is doubtful
        assert all(name.endswith("(doubtful)") is doubtful for name in names(found))
        assert not said(found, "probably missed")

    def test_a_level_that_cannot_be_leaves_them_open_and_says_why(self, through):
        found = through(film(ladder(["between"] * 5)[0]), top_level="L5")
        assert levels(found) == [None] * 5
        assert said(found, "--top-level: L5 with 0 vertebrae above it and 4 below")

    def test_a_level_that_there_is_not_is_refused(self, through):
        with pytest.raises(InputError, match="--top-level: 'C9'"):
            through(film(ladder(["between"] * 5)[0]), top_level="C9")

    def test_a_fused_pair_is_named_as_such(self, through):
        picture, _ = ladder(["C2", "between", "between", None, None, "between", "between"])
        middle = 60 + round(3.5 * STEP)
        picture[middle - 25 : middle + 25, 104:138] = 0.6
        found = through(film(picture))
        assert said(found, "C5 body is 2.3 times as high as its neighbours: probably two vertebrae in one mask")
        assert names(found)[3:] == ["C5 body (doubtful)", "C6 body (doubtful)"]

    def test_a_mask_that_its_patch_cuts_off_is_in_doubt(self, through):
        picture, _ = ladder(["between"] * 6)
        picture[60 + 2 * STEP : 60 + 2 * STEP + 2, 125:200] = 0.6
        found = through(film(picture), ByHand(detector=Seen([0.1, 0.1, 0.1, 0.9, 0.9, 0.9])), top_level="C3")
        assert said(found, "C5 body is cut off by its patch")
        assert [name.endswith("(doubtful)") for name in names(found)] == [False, False, True, True, True, True]

    def test_a_seventh_behind_the_shoulders_shifts_no_level(self, through):
        picture, _ = ladder([*NECK[:5], None, "between"])
        found = through(film(picture))
        assert levels(found) == LEVELS[:5]
        assert said(found, "Nothing below C6 body: the segmenter found nothing at the next place")

    def test_a_broken_process_behind_the_bodies_changes_nothing(self, through):
        picture, _ = ladder(NECK)
        plain = through(film(picture))
        rows = np.arange(5)
        for row, column in ((128, 165), (134, 172), (220, 168)):
            picture[row + rows[:, None] - 2, column + np.arange(12)[None] - 6] = 0.6
        broken = through(film(picture), ByHand(detector=Seen(least=100)))
        assert levels(broken) == levels(plain) == LEVELS
        for segment_ in plain.segmentation.segments:
            np.testing.assert_array_equal(plain.segmentation.mask(segment_), broken.segmentation.mask(segment_.name))


class TestUpsideDown:
    def test_a_neck_upside_down_is_read_turned_and_says_so(self, through):
        picture, masks = ladder(NECK)
        found = through(film(picture[::-1, ::-1]))
        assert levels(found) == LEVELS
        for segment_, truth in zip(found.segmentation.segments, masks, strict=True):
            assert dice(found.segmentation.mask(segment_)[0][::-1, ::-1], truth) > 0.95
        assert said(found, "The picture seems to be upside down")

    def test_without_an_end_of_the_spine_nothing_is_mislabelled(self, through):
        found = through(film(ladder(["between"] * 5)[0][::-1, ::-1]))
        assert levels(found) == [None] * 5

    def test_a_c2_at_the_lower_end_alone_leaves_the_levels_open(self, through):
        # A C2 the right way up below the others: whatever that is, it is no neck with the head at the top.
        found = through(film(ladder([*["between"] * 4, "C2"])[0]))
        assert set(levels(found)) == {None}
        assert said(found, "The picture may be upside down (C2 at the lower end)")
        assert not said(found, "Neither C2 nor S1 was recognised")

    def test_an_upright_neck_is_looked_at_once(self, through):
        network = ByHand()
        through(film(ladder(NECK)[0]), network)
        assert network.segmenter.encoded[0] == 3 and network.segmenter.encoded.count(3) == 1

    def test_an_end_that_the_turned_picture_shows_as_well_leaves_the_levels_open(self, through):
        class Eager(Halves):
            """Takes whatever lies lowest in the picture for a C2, too."""

            def __call__(self, patches):
                logits = super().__call__(patches)
                upper, lower = patches[:, 0, :20].amax(dim=(1, 2)), patches[:, 0, -20:].amax(dim=(1, 2))
                logits[(upper < 0.2) & (lower > 0.2), 0] += 60
                return logits

        found = through(film(ladder(["between"] * 6)[0]), ByHand(classifier=Eager()))
        assert levels(found) == [None] * 6
        assert said(found, "Ends of the spine were recognised with the head at the top and at the bottom")


def test_it_can_be_cancelled_between_vertebrae(through):
    seen = []

    def report(step, of, what):
        seen.append(what)
        assert step <= of
        if what == "5 vertebrae found":
            raise Cancelled("enough")

    network = ByHand(detector=Seen([0.5, 0.5, 0.9, 0.9, 0.9, 0.5, 0.5]))
    with pytest.raises(Cancelled):
        through(film(ladder(NECK)[0]), network, report=report)
    assert "3 vertebrae found" in seen
    assert network.segmenter.encoded == [3, 2]


def test_an_argument_that_does_not_exist_is_named():
    from SpineSegLib.pipelines.spinefm.choices import Choices

    with pytest.raises(ValueError, match="no argument 'treshold'"):
        Choices.of({"treshold": 0.9})
