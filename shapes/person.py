"""A jointed figure seen from the front, in a random pose: head, trunk, arms and legs.

It is never mirrored, and its left hand and foot stay left of its right ones, so that left and right
(its own, as in COCO) can be told from its outline.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shapes.figures import turned

Points = NDArray[np.float64]

LANDMARKS = ("head", "left_hand", "right_hand", "hips", "left_foot", "right_foot")
"""Names of the keypoints, in the order of `Person.landmarks`."""
MIRRORED = [0, 2, 1, 3, 5, 4]
"""Where each landmark is found in a mirrored frame: left and right change places."""

_TILT = np.pi / 4
_SIZES = (0.55, 0.95)  # of the figure, as a share of the largest that fits the frame
# In units of the trunk's length; of limbs the length of each of two bones and half its width.
_HEAD, _SHOULDER, _HIP = 0.3, 0.36, 0.22
_ARM, _LEG = (0.5, 0.13), (0.6, 0.16)
# Angles of a limb's first bone from straight down, away from the body, and how far the second one
# turns from it: little enough that limbs do not cross.
_ARM_SWING, _ELBOW = (0.2, 2.6), (-0.4, 1.2)
_LEG_SWING, _KNEE = (0.05, 0.9), (-0.3, 0.1)


class Person(NamedTuple):
    """A pose.

    Attributes:
        landmarks: float64 (6, 2), x and y in pixels; pixel j spans j..j+1.
        legs, arms: outlines of their bones, two of each limb, float64 (P, 2) each.
        trunk, head: their outlines.
    """

    landmarks: Points
    legs: tuple[Points, ...]
    arms: tuple[Points, ...]
    trunk: Points
    head: Points


def posed(rng: np.random.Generator, height: int, width: int) -> Person:
    """Draws a person of random pose, tilt and size, anywhere within the frame."""
    person = _upright(rng)
    angle = rng.uniform(-_TILT, _TILT)
    every = np.concatenate([*person.legs, *person.arms, person.trunk, person.head])
    every = turned(every, angle)
    low, high = every.min(axis=0), every.max(axis=0)
    frame = np.array([width, height], np.float64)
    scale = rng.uniform(*_SIZES) * ((frame - 2) / (high - low)).min()
    shift = rng.uniform(1 - scale * low, frame - 1 - scale * high)

    def placed(points: Points) -> Points:
        found: Points = turned(scale * points, angle) + shift
        return found

    return Person(
        placed(person.landmarks),
        tuple(placed(bone) for bone in person.legs),
        tuple(placed(bone) for bone in person.arms),
        placed(person.trunk),
        placed(person.head),
    )


def _upright(rng: np.random.Generator) -> Person:
    """Hips at the origin, y downwards, the trunk of length 1."""
    hips, head = np.zeros(2), np.array([0.0, -1.0 - 1.15 * _HEAD])
    bones: dict[str, list[Points]] = {"foot": [], "hand": []}
    ends: dict[str, Points] = {"head": head, "hips": hips}
    for end, start, (length, radius), swing, bend in (
        ("foot", [_HIP - _LEG[1], 0.0], _LEG, _LEG_SWING, _KNEE),
        ("hand", [_SHOULDER, -0.9], _ARM, _ARM_SWING, _ELBOW),
    ):
        # A person who faces us has the left on our right, where x grows.
        for side, mirror in (("left", [1.0, 1.0]), ("right", [-1.0, 1.0])):
            first = rng.uniform(*swing)
            second = first + rng.uniform(*bend)
            joints = np.cumsum([start, _bone(first, length), _bone(second, length)], axis=0)
            joints *= mirror
            bones[end] += [_capsule(joints[n], joints[n + 1], radius) for n in range(2)]
            ends[f"{side}_{end}"] = joints[2]
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = [(-_SHOULDER, -1), (_SHOULDER, -1), (_HIP, 0.12), (-_HIP, 0.12)]
    return Person(
        np.array([ends[name] for name in LANDMARKS]),
        tuple(bones["foot"]),
        tuple(bones["hand"]),
        np.array(corners),
        head + _HEAD * np.stack([np.cos(angle), np.sin(angle)], axis=1),
    )


def _bone(angle: float, length: float) -> Points:
    return length * np.array([np.sin(angle), np.cos(angle)])


def _capsule(start: Points, end: Points, radius: float) -> Points:
    """A bar with round ends."""
    along = np.arctan2(*(end - start)[::-1])
    arc = along + np.linspace(-np.pi / 2, np.pi / 2, 9)
    half = radius * np.stack([np.cos(arc), np.sin(arc)], axis=1)
    return np.concatenate([end + half, start - half])
