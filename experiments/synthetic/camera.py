"""This module projects points with pinhole cameras."""

import dataclasses

import numpy as np

from experiments.synthetic.mesh import Real

NEAR_M = 0.5
"""Depth in metres of the near plane."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """A `Camera` is a pinhole camera at a position in the scene.

    Attributes:
        position: shape [3], metres.
        rotation: shape [3, 3]; the rows are the picture's rightward and downward directions and the line of sight.
        focal: focal length in pixels.
        centre: principal point (x, y) in pixels, where the line of sight meets the picture.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: Real
    centre: tuple[Real, Real]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Projects points, shape [v, 3], onto pixels, shape [v, 2], and depths in metres, shape [v].

        The pixels are wrong where the depth is below `NEAR_M`.
        """
        camera_points = (points - self.position) @ self.rotation.T
        depth = camera_points[:, 2]
        return camera_points[:, :2] * (self.focal / np.maximum(depth, NEAR_M))[:, None] + self.centre, depth

    def homography(self, frame: np.ndarray) -> np.ndarray:
        """Returns the matrix, shape [3, 3], from (u, v, 1) of a plane ([4, 3]: origin, u, v, normal) to pixels."""
        plane_to_camera = np.stack([frame[1], frame[2], frame[0] - self.position], 1)
        intrinsics = np.array([[self.focal, 0, self.centre[0]], [0, self.focal, self.centre[1]], [0, 0, 1.0]])
        return intrinsics @ self.rotation @ plane_to_camera

    def scaled(self, factor: Real, centre: tuple[Real, Real]) -> "Camera":
        """Returns the same view, magnified by ``factor``, with a new principal point."""
        return dataclasses.replace(self, focal=self.focal * factor, centre=centre)


def look_at(position: np.ndarray, target: np.ndarray, focal: Real, centre: tuple[Real, Real], roll: Real) -> Camera:
    """Returns a camera at ``position`` that looks at ``target``, rolled by ``roll`` radians."""
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.stack([cos * right + sin * down, cos * down - sin * right, forward])
    return Camera(position, rotation, focal, centre)
