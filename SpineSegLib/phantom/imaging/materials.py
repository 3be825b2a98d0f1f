"""What tissues are made of for X-rays: amounts of water, bone and metal, and their Hounsfield units.

Every soft tissue and bone is a sum of water and cortical bone (R. E. Alvarez and A. Macovski, Phys. Med. Biol. 21,
1976: two bases describe attenuation at diagnostic energies). Hounsfield units and radiographs come from the same sum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from SpineSegLib.phantom.body import Body, Tissue
from SpineSegLib.phantom.imaging.spectrum import mass_attenuation

CT_ENERGY = 70.0
"""Effective energy in keV of a CT at 120 kVp, at which Hounsfield units are counted."""

BASES = ("water", "bone", "titanium")
"""The base materials of the projector, amounts in g/cm³."""

HOUNSFIELD = {
    Tissue.AIR: -1000.0,
    Tissue.LUNG: -780.0,
    Tissue.FAT: -100.0,
    Tissue.SKIN: 60.0,
    Tissue.MUSCLE: 55.0,
    Tissue.ORGAN: 45.0,
    Tissue.CSF: 8.0,
    Tissue.CORD: 38.0,
    Tissue.DISC: 85.0,
    Tissue.CARTILAGE: 110.0,
    Tissue.TRABECULAR: 190.0,
    Tissue.CORTICAL: 1250.0,
    Tissue.TOOTH: 2200.0,
    Tissue.METAL: 11000.0,
    Tissue.BED: -750.0,
    Tissue.NUCLEUS: 80.0,
}
"""Nominal values at `CT_ENERGY`. Trabecular bone as in healthy adults (L1 at 30-40 years: about 190 to 220 HU, M. Jang
et al., Radiology 291, 2019); cortex as solid bone before partial volume; organs as in standard radiology texts."""

MARROW_HU = -10.0
"""What trabecular bone is without its mineral: red and yellow marrow in equal parts."""

MINERALISED = frozenset({Tissue.TRABECULAR, Tissue.CORTICAL, Tissue.TOOTH})
"""In these, a body's density multiplies the mineral alone, not the soft matter it lies in."""


@cache
def bone_per_hu() -> float:
    """Return the g/cm³ of cortical bone that raises a voxel by one Hounsfield unit at `CT_ENERGY`."""
    return float(mass_attenuation("water", CT_ENERGY) / mass_attenuation("bone", CT_ENERGY) / 1000)


@cache
def tissue_bases() -> tuple[np.ndarray, np.ndarray]:
    """Return what the tissues are made of: (fixed, scaled), float32 (number of tissues, 3) in g/cm³ of `BASES`.

    A voxel of tissue t and density d holds ``fixed[t] + d * scaled[t]``.
    """
    fixed = np.zeros((len(Tissue), len(BASES)), np.float32)
    scaled = np.zeros_like(fixed)
    for tissue, hu in HOUNSFIELD.items():
        if tissue in MINERALISED:
            soft = MARROW_HU if tissue is Tissue.TRABECULAR else 0.0
            fixed[tissue, 0] = 1 + soft / 1000
            scaled[tissue, 1] = (hu - soft) * bone_per_hu()
        elif tissue is Tissue.METAL:
            ratio = mass_attenuation("water", CT_ENERGY) / mass_attenuation("titanium", CT_ENERGY)
            scaled[tissue, 2] = (1 + hu / 1000) * ratio
        else:
            scaled[tissue, 0] = 1 + hu / 1000
    return fixed, scaled


def hounsfield_of_bases(amounts: np.ndarray) -> np.ndarray:
    """Return Hounsfield units at `CT_ENERGY` of (..., 3) amounts of `BASES` in g/cm³."""
    weights = np.array([mass_attenuation(base, CT_ENERGY) for base in BASES]) / mass_attenuation("water", CT_ENERGY)
    return ((amounts @ weights.astype(np.float32)) - 1) * 1000


@cache
def tissue_hounsfield() -> tuple[np.ndarray, np.ndarray]:
    """Return (fixed, scaled), float32 a tissue: a voxel of density d has ``fixed[t] + d * scaled[t]`` HU."""
    fixed, scaled = tissue_bases()
    return hounsfield_of_bases(fixed), hounsfield_of_bases(scaled) + 1000


def bases_of_hounsfield(hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn Hounsfield units of any CT into amounts of water and bone in g/cm³.

    Up to 100 HU a voxel is water of that density (fat and muscle differ little above 40 keV); above, the excess is
    cortical bone in soft tissue (as in U. Schneider et al., Phys. Med. Biol. 45, 2000).
    """
    hu = np.asarray(hu, dtype=np.float32)
    water = np.clip(hu, -1000, 100) / 1000 + 1
    bone = np.clip(hu - 100, 0, None) * np.float32(bone_per_hu())
    return water, bone


def body_amounts(body: Body) -> tuple[Callable[[int, slice], np.ndarray], int]:
    """Return what gives the amounts of `BASES` in a body, and how many bases it needs (the third only with metal).

    The function takes an array axis and a range along it and returns float32 (bases, k, j, i) in g/cm³.
    """
    fixed, scaled = tissue_bases()
    table = np.zeros(256, np.float32)
    table[: len(scaled)] = scaled[:, 0]
    count = 3 if (body.tissue == Tissue.METAL).any() else 2

    def amounts(axis: int, part: slice) -> np.ndarray:
        where = tuple(part if number == axis else slice(None) for number in range(3))
        tissue = np.ascontiguousarray(body.tissue[where])
        density = np.ascontiguousarray(body.density[where], dtype=np.float32)
        out = np.zeros((count, *tissue.shape), np.float32)
        np.multiply(table.take(tissue, mode="wrap"), density, out=out[0])
        # Few voxels are bone or metal, so only those are worked out in full.
        mixed = np.flatnonzero((tissue >= Tissue.TRABECULAR) & (tissue <= Tissue.METAL))
        kind, amount = tissue.ravel()[mixed], density.ravel()[mixed]
        for base in range(count):
            out[base].ravel()[mixed] = fixed[kind, base] + amount * scaled[kind, base]
        return out

    return amounts, count
