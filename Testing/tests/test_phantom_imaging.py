"""Physics of the digital spine's images, against what can be worked out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simple_body import HEIGHT, RADIUS, simple_body

from SpineSegLib.image import Geometry
from SpineSegLib.phantom.body import Body, Tissue
from SpineSegLib.phantom.imaging.ct import Protocol, averaged, computed_tomography, noise_level
from SpineSegLib.phantom.imaging.detector import Exposure, detected, scattered, transmission
from SpineSegLib.phantom.imaging.film import Processing, developed, quantised
from SpineSegLib.phantom.imaging.marker import Collimation, marker
from SpineSegLib.phantom.imaging.materials import (
    HOUNSFIELD,
    bases_of_hounsfield,
    hounsfield_of_bases,
    tissue_hounsfield,
)
from SpineSegLib.phantom.imaging.mr import Sequence, magnetic_resonance, spin_echo, tissue_signal
from SpineSegLib.phantom.imaging.noise import grain, rician, slow_field
from SpineSegLib.phantom.imaging.radiograph import Marker, Technique, radiograph
from SpineSegLib.phantom.imaging.spectrum import mass_attenuation, spectrum
from SpineSegLib.phantom.imaging.tomography import Scanner
from SpineSegLib.phantom.imaging.view import View

QUIET = Protocol(noise=0, blur=0, streaks=False)
LATERAL = View(azimuth=90, source_detector=1500, source_centre=1250, size=(300, 280), pixel=0.4)


@pytest.fixture(scope="module")
def body() -> Body:
    return simple_body()


# X-rays


def test_attenuation_is_that_of_the_table_and_falls_between_its_points():
    assert mass_attenuation("water", 60.0) == pytest.approx(0.2059)
    assert 0.1837 < mass_attenuation("water", 70.0) < 0.2059


def test_spectrum_shares_sum_to_one_and_filtration_hardens():
    soft, hard = spectrum(75, aluminium_mm=2.5), spectrum(75, aluminium_mm=10.0)
    assert soft.share.sum() == pytest.approx(1)
    assert soft.share @ soft.energy < hard.share @ hard.energy < 75
    assert (np.diff(soft.energy) > 0).all()


def test_a_single_energy_follows_beer_and_lambert():
    beam = replace(spectrum(75), energy=np.array([60.0]), share=np.array([1.0]))
    amounts = np.array([[[100.0]], [[0.0]]])  # 100 mm of water
    assert transmission(amounts, beam)[0, 0] == pytest.approx(np.exp(-0.2059 * 10))


def test_beams_harden():
    beam = spectrum(75)
    thin, thick = (-np.log(transmission(np.array([[[t]], [[0.0]]]), beam)[0, 0]) / t for t in (1.0, 300.0))
    assert 0.017 < thick < thin < 0.03


def test_profile_of_a_uniform_cylinder_is_its_chord():
    shape = (60, 120, 120)
    matrix = np.diag([1.0, 1.0, 1.0, 1.0])
    matrix[:3, 3] = (-59.5, -59.5, -29.5)
    geometry = Geometry(shape, matrix)
    y, x = np.mgrid[-59.5:60, -59.5:60]
    tissue = np.where(np.broadcast_to(np.hypot(x, y) <= 50, shape), Tissue.ORGAN, Tissue.AIR).astype(np.uint8)
    cylinder = replace(simple_body(4.0), tissue=tissue, density=np.ones(shape, np.float16), geometry=geometry)
    from SpineSegLib.phantom.imaging.materials import body_amounts
    from SpineSegLib.phantom.imaging.rays import Rays, integrate

    view = View(azimuth=90, source_detector=2000, source_centre=1500, size=(3, 401), pixel=0.4).centred(geometry)
    water = integrate(Rays(view, geometry), *body_amounts(cylinder))[0, 1]
    sine = np.abs(np.arange(401) - 200) * 0.4 / 2000
    distance = 1500 * np.sin(np.arctan(sine))
    chord = 2 * np.sqrt(np.maximum(50**2 - distance**2, 0))
    deep = chord > 30
    # The rows' edges are as coarse as the voxels.
    assert water[deep] == pytest.approx(1.045 * chord[deep], abs=1.5)
    assert (water[deep] / chord[deep]).mean() == pytest.approx(1.045, rel=0.005)


def test_scatter_is_smooth_and_as_strong_as_asked():
    primary = np.full((300, 300), 1.0, np.float32)
    primary[:, 100:200] = 0.05
    scatter = scattered(primary, 0.5, 0.4)
    assert np.median((scatter / primary)[primary < 0.5]) == pytest.approx(0.4, rel=0.15)
    assert np.abs(np.diff(scatter, axis=1)).max() < 0.002
    assert (scattered(np.ones((50, 50), np.float32), 1.0, 0.4) == 0).all()


def test_quantum_noise_grows_as_the_square_root_of_the_signal():
    amounts = np.zeros((2, 400, 200), np.float32)
    amounts[0, :200] = 60.0
    amounts[0, 200:] = 200.0
    exposure = Exposure(scatter_to_primary=0.0, detector_blur=0.01, glare=0.0, electronic=0.0, focal_spot=0.01)
    options = {"pixel": 0.2, "magnification": 1.2, "exposure": exposure}
    clean = detected(amounts, **options)
    noisy = detected(amounts, rng=np.random.default_rng(0), **options)
    thin, thick = np.s_[:190], np.s_[210:]
    ratio = (noisy - clean)[thin].std() / (noisy - clean)[thick].std()
    assert ratio == pytest.approx(np.sqrt(clean[thin].mean() / clean[thick].mean()), rel=0.05)
    assert noisy[thin].mean() == pytest.approx(clean[thin].mean(), rel=0.002)


def test_bone_is_brighter_than_muscle_and_air_is_black(body):
    film = radiograph(body, Technique(LATERAL, processing=Processing(latitude=0)), None)
    picture = film.image.array[0]
    bone = film.masks.mask("C4 body")[0]
    air = np.zeros_like(bone)
    air[:, :8] = True
    muscle = ~film.masks.foreground[0] & (picture > 0.1)
    assert picture[bone].mean() > np.median(picture[muscle]) + 0.02
    assert picture[air].max() < 0.05


def test_corners_lie_on_the_corners_of_the_projected_body(body):
    film = radiograph(simple_body(0.5), Technique(replace(LATERAL, roll=4.0)), None)
    for level in ("C3", "C4", "C5", "C6"):
        mask = film.masks.mask(f"{level} body")[0]
        rows, columns = np.nonzero(mask)
        for name in ("SA", "SP", "IA", "IP"):
            corner = np.array(film.truth["points"][level][name])
            # Endplates are curved lines in perspective: their rims reach past the corners by the fan of the beam.
            assert np.hypot(rows - corner[0], columns - corner[1]).min() < 1.5


def test_film_measures_what_the_body_is_magnified():
    body = simple_body(1.0)
    film = radiograph(body, Technique(LATERAL), None)
    truth = film.truth["film"]
    magnification = film.truth["magnification"]["C4"]
    assert magnification == pytest.approx(1.2, abs=0.01)
    assert truth["height"]["C4"]["anterior"] == pytest.approx(HEIGHT * magnification, rel=0.01)
    assert truth["depth"]["C4"]["superior"] == pytest.approx(2 * RADIUS * magnification, rel=0.01)
    assert truth["tilt"]["C4"]["superior"] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_tilt_in_the_film_is_that_of_the_patient_whichever_way_it_faces(mirrored):
    body = simple_body(1.0)
    angle = np.radians(12)
    for named in body.measurements["points"].values():
        # The front 12 degrees higher than the back.
        for name, point in named.items():
            y = point[1] - 65
            named[name] = [point[0], 65 + y * np.cos(angle), point[2] + y * np.sin(angle)]
    film = radiograph(body, Technique(LATERAL, mirrored=mirrored), None)
    assert film.truth["film"]["tilt"]["C4"]["superior"] == pytest.approx(12, abs=0.3)
    plain = radiograph(body, Technique(LATERAL), None)
    turned = film.image.array[0, :, :: -1 if mirrored else 1]
    assert turned == pytest.approx(plain.image.array[0], abs=0.01)
    assert (film.masks.mask("C4")[0, :, :: -1 if mirrored else 1] == plain.masks.mask("C4")[0]).all()


def test_metal_is_the_brightest_thing_but_the_marker():
    film = radiograph(simple_body(metal=True), Technique(LATERAL), None)
    bone = film.image.array[0][film.masks.mask("C4 body")[0]].max()
    assert film.image.array[0].max() > bone


def test_noise_comes_from_the_seed_alone(body):
    def make(seed):
        return radiograph(body, Technique(LATERAL), np.random.default_rng(seed)).image.array

    assert (make(1) == make(1)).all()
    assert (make(1) != make(2)).any()


def test_marker_stops_the_beam_where_its_letter_is():
    lead = marker("L", (200, 200), 0.5, (100, 100), 40.0)
    assert lead.max() == pytest.approx(1.2) and lead[0, 0] == 0
    # An L has its foot below and to the right of its stem.
    rows, columns = np.nonzero(lead > 0.6)
    assert rows.max() - rows.min() == pytest.approx(80 * 1.17, abs=3)
    assert columns[rows > rows.max() - 5].max() > columns[rows < rows.min() + 20].max() + 20


def test_collimator_hides_what_lies_outside(body):
    collimation = Collimation((0.1, 0.1, 0.2, 0.0))
    film = radiograph(body, Technique(LATERAL, collimation=collimation, marker=Marker("R")), None)
    picture = film.image.array[0]
    assert picture[:20].max() < 0.01 and picture[-20:].max() < 0.01 and picture[:, :45].max() < 0.01


def test_stored_values_of_monochrome1_are_turned_over():
    picture = np.array([[0.0, 0.25, 1.0]])
    assert quantised(picture, 12).tolist() == [[0, 1024, 4095]]
    assert quantised(picture, 12, inverted=True).tolist() == [[4095, 3071, 0]]
    assert quantised(picture, 8).dtype == np.uint8


def test_a_darker_film_is_darker():
    signal = np.exp(-np.linspace(0, 5, 10000).reshape(100, 100)).astype(np.float32)
    light = developed(signal, 0.3, Processing())
    dark = developed(signal, 0.3, Processing(density=0.5))
    assert dark.mean() < light.mean()
    assert (np.diff(developed(signal, 0.3, Processing(latitude=0, enhancement=0)), axis=0) >= -1e-6).all()


# CT


def test_hounsfield_units_come_back_from_water_and_bone():
    hu = np.array([-1000.0, -100, 0, 50, 200, 1200])
    water, bone = bases_of_hounsfield(hu)
    amounts = np.stack([water, bone, np.zeros_like(water)], axis=-1)
    assert hounsfield_of_bases(amounts) == pytest.approx(hu, abs=0.5)


def test_every_tissue_has_its_hounsfield_units_at_density_one():
    fixed, scaled = tissue_hounsfield()
    for tissue, hu in HOUNSFIELD.items():
        assert fixed[tissue] + scaled[tissue] == pytest.approx(hu, abs=1)
    half = fixed + 0.5 * scaled
    assert half[Tissue.MUSCLE] == pytest.approx(-472.5, abs=1)  # half the density
    assert half[Tissue.TRABECULAR] == pytest.approx(90, abs=2)  # half the mineral in the same marrow


def oblique_grid(step=(1.4, 0.9, 0.8), shape=(50, 70, 72)) -> Geometry:
    a, b = np.radians([14, -9])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-step[2], -step[1], step[0]])
    matrix[:3, 3] = (0, 62, 1398) - matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return Geometry(shape, matrix)


def test_ct_has_each_tissue_s_hounsfield_units_on_an_oblique_anisotropic_grid():
    body = simple_body(0.8, tilt=7)
    image, truth = computed_tomography(body, oblique_grid(), QUIET, None)
    from scipy.ndimage import binary_erosion

    bone = binary_erosion(truth.mask("C4 body"), iterations=2)
    disc = binary_erosion(truth.mask("C4/C5 disc"), iterations=1)
    assert bone.sum() > 200 and disc.sum() > 50
    assert image.array[bone].mean() == pytest.approx(HOUNSFIELD[Tissue.TRABECULAR], abs=2)
    assert image.array[disc].mean() == pytest.approx(HOUNSFIELD[Tissue.DISC], abs=6)
    assert image.array.dtype == np.int16 and image.modality == "CT"


def test_truth_of_the_ct_is_the_solid_at_the_voxels_centres():
    body = simple_body(0.8, tilt=7)
    image, truth = computed_tomography(body, oblique_grid(), QUIET, None)
    volume = body.truth.mask("C5 body").sum() * body.geometry.voxel_volume
    assert truth.mask("C5 body").sum() * image.geometry.voxel_volume == pytest.approx(volume, rel=0.02)
    found = image.geometry.to_world(np.argwhere(truth.mask("C5 body")).mean(axis=0))
    assert found == pytest.approx(np.array(body.measurements["points"]["C5"]["centroid"]), abs=0.3)


def test_partial_volume_keeps_the_amount_of_matter():
    body = simple_body(0.8)
    hu = np.where(body.truth.mask("C4 body"), 1000.0, 0.0).astype(np.float32)
    target = oblique_grid((2.9, 1.7, 1.5), (28, 42, 44))
    coarse = averaged(hu, body.geometry, target, fill=0.0)
    amount = hu.sum() * body.geometry.voxel_volume
    assert coarse.sum() * target.voxel_volume == pytest.approx(amount, rel=0.01)
    assert ((coarse > 100) & (coarse < 900)).sum() > 50


def test_reconstruction_gives_back_what_was_projected():
    y, x = np.mgrid[-31.5:32, -31.5:32]
    disc = (np.hypot(x - 5, y + 8) < 15).astype(np.float32) * 0.02
    scanner = Scanner(64, 90, 2.0)
    back = scanner.reconstruct(scanner.project(disc[None]))[0]
    inside = np.hypot(x - 5, y + 8) < 12
    assert back[inside].mean() == pytest.approx(0.02, rel=0.03)
    assert np.abs(back[np.hypot(x - 5, y + 8) > 20]).mean() < 0.0006
    # The line integral through the middle is diameter times value.
    assert scanner.project(disc[None]).max() == pytest.approx(0.02 * 2 * 15 * 2.0, rel=0.06)


def test_metal_makes_streaks_and_bone_alone_hardly_any():
    grid = oblique_grid((2.0, 1.2, 1.2), (30, 56, 56))
    streaky = replace(QUIET, streaks=True)

    def change(metal):
        body = simple_body(1.0, metal=metal)
        with_streaks, _ = computed_tomography(body, grid, streaky, None)
        without, truth = computed_tomography(body, grid, QUIET, None)
        far = ~truth.foreground & (without.array < 100) & (without.array > 0)
        return (with_streaks.array.astype(int) - without.array)[far].std()

    assert change(True) > 4 * change(False)


def test_noise_of_the_ct_is_as_strong_as_asked_and_correlated():
    body = simple_body(1.0)
    grid = oblique_grid((2.0, 0.7, 0.7), (20, 96, 96))
    protocol = replace(QUIET, noise=20.0)
    noisy, _ = computed_tomography(body, grid, protocol, np.random.default_rng(0))
    clean, _ = computed_tomography(body, grid, QUIET, None)
    change = noisy.array.astype(float) - clean.array
    inside = clean.array > 0
    assert change[inside].std() == pytest.approx(20, rel=0.35)
    assert abs(change[inside].mean()) < 1.5
    flat = grain((4, 128, 128), np.random.default_rng(1), sharpness=0.5)
    assert flat.std() == pytest.approx(1, rel=1e-3)
    # Filtered back-projection leaves no slow noise: neighbours at the texture's period are anticorrelated.
    assert (flat[:, :, 1:] * flat[:, :, :-1]).mean() > 0.2
    assert min((flat[:, :, n:] * flat[:, :, :-n]).mean() for n in (3, 4, 5)) < -0.02


def test_noise_is_stronger_behind_more_matter():
    array = np.full((4, 60, 60), -1000.0, np.float32)
    array[:, 10:50, 20:40] = 0
    array[2:, 10:50, 5:55] = 0
    geometry = Geometry(array.shape, np.diag([5.0, 5, 5, 1]))
    sigma = noise_level(array, geometry, 10.0)
    assert sigma[3, 30, 30] > 1.3 * sigma[0, 30, 30]


# MR


def test_spin_echo_follows_its_equation():
    sequence = Sequence(tr=2000, te=100)
    assert spin_echo(1000.0, 80.0, 0.9, sequence) == pytest.approx(0.9 * (1 - np.exp(-2)) * np.exp(-1.25))


def test_t2_weighting_makes_water_bright_and_cortex_black():
    signal = tissue_signal(Sequence())
    assert signal[Tissue.CSF] == pytest.approx(1000)
    order = [Tissue.CSF, Tissue.FAT, Tissue.CORD, Tissue.MUSCLE, Tissue.CORTICAL]
    assert (np.diff(signal[order]) < 0).all()
    t1 = tissue_signal(Sequence(tr=500, te=10))
    assert t1[Tissue.FAT] > t1[Tissue.CSF]


def test_rician_noise_has_its_moments():
    rng = np.random.default_rng(0)
    for signal in (0.0, 20.0, 300.0):
        values = rician(np.full(400_000, signal, np.float32), 20.0, rng)
        assert (values**2).mean() == pytest.approx(signal**2 + 2 * 20**2, rel=0.01)
    background = rician(np.zeros(400_000, np.float32), 20.0, rng)
    assert background.mean() == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.01)


def test_slow_field_is_normed_and_slow():
    field = slow_field((20, 60, 50), np.random.default_rng(0), cells=3)
    assert field.shape == (20, 60, 50)
    assert field.mean() == pytest.approx(0, abs=1e-3) and field.std() == pytest.approx(1, rel=1e-3)
    assert np.abs(np.diff(field, axis=1)).max() < 0.5


def test_mr_has_each_tissue_s_signal_in_thick_slices():
    body = simple_body(0.8)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, 0, -4.0], [-0.7, 0, 0], [0, -0.7, 0]])
    shape = (9, 160, 120)
    matrix[:3, 3] = (0, 60, 1400) - matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    geometry = Geometry(shape, matrix)
    image, truth = magnetic_resonance(body, geometry, Sequence(), None)
    signal = tissue_signal(Sequence())
    middle = image.array[4]
    assert middle[truth.mask("C4/C5 disc")[4]].mean() == pytest.approx(signal[Tissue.DISC], rel=0.1)
    assert np.median(middle[truth.mask("C4 body")[4]]) == pytest.approx(signal[Tissue.TRABECULAR], rel=0.02)
    noisy, _ = magnetic_resonance(body, geometry, Sequence(), np.random.default_rng(0))
    assert noisy.array[:, :6].mean() == pytest.approx(1000 / 60 * np.sqrt(np.pi / 2), rel=0.25)
