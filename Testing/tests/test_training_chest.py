"""A chest drawn into a digital patient: lungs around the spine, which hide it in films from the side."""

import numpy as np
import pytest

from SpineSegLib.training.chest import with_chest

STEP = 4.0
SHAPE = (100, 56, 80)
Z, Y, X = np.meshgrid(*map(np.arange, SHAPE), indexing="ij", sparse=True)
BESIDE = np.abs(X - 40) * STEP


def patient(middle=40):
    """A trunk 400 mm high with lungs above 160 mm, 64 mm away from its middle and all in front of the spine.

    Returns
    -------
    float32 Hounsfield units and the spine, k, j, i towards head, back and left
    """
    body = ((Y - 28) / 26) ** 2 + ((X - middle) / 38) ** 2 + 0 * Z < 1
    hu = np.where(body, 40.0, -1000.0).astype(np.float32)
    within = ((Y - 28) / 22) ** 2 + ((X - middle) / 33) ** 2 < 1
    lungs = within & (np.abs(X - middle) > 16) & (Y < 34) & (Z > 40) & (Z < 96)
    hu[lungs] = -850
    spine = (np.abs(Y - 41) < 5) & (np.abs(X - middle) < 5) & (Z % 8 < 7)
    hu[spine] = 400
    rib = (np.abs(Y - 5) < 2) & (np.abs(X - middle) < 4) & (Z > 50) & (Z < 90)
    hu[rib] = 700
    return hu, spine


def lung(volume):
    return (volume < -450) & (volume > -990)


@pytest.mark.parametrize("seed", range(6))
def test_lungs_reach_around_the_spine_and_leave_bone_and_air_as_they_are(seed):
    hu, spine = patient()
    out = with_chest(hu, spine, STEP, np.random.default_rng(seed))
    assert (out[spine] == 400).all() and (out[hu == 700] == 700).all()
    assert (out[hu == -1000] == -1000).all()
    close = (np.abs(Y - 41) < 4) & (BESIDE > 24) & (BESIDE < 44) & (Z > 50) & (Z < 80)
    assert not lung(hu)[close].any()
    assert lung(out)[close].mean() > 0.6
    assert not lung(out)[96:].any(), "no higher than the lungs that were there"
    assert 0.4 < lung(out).sum() / lung(hu).sum() < 3


def test_the_diaphragm_lies_deeper_behind_than_ahead():
    hu, spine = patient()
    deeper = []
    for seed in range(6):
        found = lung(with_chest(hu, spine, STEP, np.random.default_rng(seed)))
        # At least 16 cm² of lung, lest a grain counts.
        behind, ahead = (((found & where).sum(axis=(1, 2)) > 100).argmax() for where in (Y > 40, Y < 26))
        deeper.append((ahead - behind) * STEP)
    assert min(deeper) > 0
    assert np.mean(deeper) > 40, "mm"


def test_the_heart_lies_to_the_left_and_ahead_of_the_spine():
    hu, spine = patient()
    outs = [with_chest(hu, spine, STEP, np.random.default_rng(seed)) for seed in range(12)]
    ahead = lung(hu) & (Y < 30) & (Y > 14) & (Z > 50) & (Z < 58) & (BESIDE < 88)
    left, right = (np.mean([lung(out)[ahead & side].mean() for out in outs]) for side in (X > 40, X < 40))
    assert left < right - 0.1, (left, right)


def test_a_patient_without_lungs_stays_as_he_is():
    hu, spine = patient()
    belly = np.where(lung(hu), 40, hu).astype(np.float32)
    assert with_chest(belly, spine, STEP, np.random.default_rng(0)) is belly


def test_a_seed_gives_one_chest_and_another_seed_another():
    hu, spine = patient()
    one, again, other = (with_chest(hu, spine, STEP, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (one == again).all() and (lung(one) != lung(other)).mean() > 0.01


def test_lungs_are_found_where_the_images_side_cuts_the_body_off():
    hu, spine = patient(middle=34)
    cut, bone = hu[:, :, 3:], spine[:, :, 3:]
    assert (cut[50, :, 0] > -400).any()
    out = with_chest(cut, bone, STEP, np.random.default_rng(1))
    close = (np.abs(Y - 41) < 4) & (np.abs(X - 31) > 6) & (np.abs(X - 31) < 11) & (Z > 50) & (Z < 80)
    assert lung(out)[close[:, :, :-3]].mean() > 0.6
