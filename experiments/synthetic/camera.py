"""Pinhole cameras."""

import dataclasses

import numpy as np

from experiments.synthetic.mesh import Real

NEAR = 0.5


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: [3] metres.
        rotation: [3, 3] rows are the picture's right, its down and the line of sight.
        focal: pixels.
        centre: pixels, where the line of sight meets the picture.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: Real
    centre: tuple[Real, Real]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[v, 2] pixels and [v] depths in metres of [v, 3] points; wrong where the depth is below `NEAR`."""
        seen = (points - self.position) @ self.rotation.T
        depth = seen[:, 2]
        return seen[:, :2] * (self.focal / np.maximum(depth, NEAR))[:, None] + self.centre, depth

    def homography(self, frame: np.ndarray) -> np.ndarray:
        """[3, 3] from (u, v, 1) of a plane ([4, 3]: origin, u, v, normal) to pixels."""
        seen = np.stack([frame[1], frame[2], frame[0] - self.position], 1)
        intrinsics = np.array([[self.focal, 0, self.centre[0]], [0, self.focal, self.centre[1]], [0, 0, 1.0]])
        return intrinsics @ self.rotation @ seen

    def scaled(self, factor: Real, centre: tuple[Real, Real]) -> "Camera":
        """The same view, magnified and shifted."""
        return dataclasses.replace(self, focal=self.focal * factor, centre=centre)


def look(position: np.ndarray, target: np.ndarray, focal: Real, centre: tuple[Real, Real], roll: Real) -> Camera:
    """A camera at ``position`` that looks at ``target``, rolled by ``roll`` radians."""
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.stack([cos * right + sin * down, cos * down - sin * right, forward])
    return Camera(position, rotation, focal, centre)
