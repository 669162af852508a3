#!/usr/bin/env python3
"""Turns the NRE repository's example pair into what nre_localizer takes.

    nre_sample_to_colmap.py SAMPLE_FOLDER OUTPUT_FOLDER

SAMPLE_FOLDER is assets/sample of github.com/germain-hug/NRE: sample.npz and the
two images that it names. It has points p3D and, for source and target, a pose
P (cam_from_world, 4x4), intrinsics K and distortion (k1, k2, p1, p2 of COLMAP's
OPENCV camera). The images lie in SAMPLE_FOLDER. OUTPUT_FOLDER, which must
exist, gets

    map/         the source image's COLMAP model, as text. The sample has no
                 keypoints; as in the repository, they are the projections of
                 the points.
    queries.txt  the target image with its intrinsics
    truth.txt    the target's pose: name qw qx qy qz tx ty tz

The sample's K puts the centre of the first pixel at (0, 0): the principal
points are (width / 2 - 0.5, height / 2 - 0.5), and the repository scales K
accordingly. COLMAP puts it at (0.5, 0.5). Needs numpy.
"""

import pathlib
import struct
import sys
import typing
import zipfile

try:
    import numpy as np
except ImportError:
    sys.exit("error: numpy is needed (Debian: python3-numpy)")


class View(typing.NamedTuple):
    """An image with its camera and pose."""
    name: str
    size: tuple  # Width and height.
    params: np.ndarray  # fx, fy, cx, cy, k1, k2, p1, p2 as COLMAP's OPENCV.
    cam_from_world: np.ndarray  # [4, 4]

    def camera(self):
        """COLMAP's model, size and parameters, as text."""
        return f"OPENCV {self.size[0]} {self.size[1]} {text(self.params)}"

    def pose(self):
        """qw qx qy qz tx ty tz, as text."""
        return text((*quaternion(self.cam_from_world[:3, :3]),
                     *self.cam_from_world[:3, 3]))


def text(numbers):
    """Numbers with blanks between, none of their digits lost."""
    return " ".join(repr(float(number)) for number in numbers)


def jpeg_size(path):
    """Width and height, from the frame header."""
    data, position = path.read_bytes(), 2
    while data[:2] == b"\xff\xd8" and position + 9 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if 0xFFC0 <= marker <= 0xFFC3:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + length
    raise ValueError(f"{path} is no JPEG file")


def quaternion(rotation):
    """(w, x, y, z), w >= 0, of the rotation nearest to a 3x3 matrix.

    Bar-Itzhack, "New method for extracting the quaternion from a rotation
    matrix", 2000: an eigenvector.
    """
    r = rotation
    upper = np.array([
        [0, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
        [0, 0, r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
        [0, 0, 0, r[2, 1] + r[1, 2]],
        [0, 0, 0, 0]])
    diagonal = [r[0, 0] + r[1, 1] + r[2, 2], r[0, 0] - r[1, 1] - r[2, 2],
                r[1, 1] - r[0, 0] - r[2, 2], r[2, 2] - r[0, 0] - r[1, 1]]
    vector = np.linalg.eigh(upper + upper.T + np.diag(diagonal))[1][:, -1]
    return vector if vector[0] >= 0 else -vector


def read_view(sample, which, folder):
    """The view `which`, source or target, of the sample."""
    k = sample[f"{which}_K"].astype(float)
    distortion = sample[f"{which}_dist"].astype(float)
    cam_from_world = sample[f"{which}_P"].astype(float)
    if (k.shape, distortion.shape, cam_from_world.shape) != (
            (3, 3), (4,), (4, 4)) or k[0, 1] != 0:
        raise ValueError(f"{which}_K, {which}_dist or {which}_P is not a 3x3 "
                         "matrix without skew, 4 numbers, a 4x4 matrix")
    name = pathlib.PurePosixPath(str(sample[f"{which}_image"])).name
    params = np.array([k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5,
                       *distortion])
    return View(name, jpeg_size(folder / name), params, cam_from_world)


def project(view, points):
    """Pixels [N, 2] of points [N, 3], and which lie in front and inside."""
    pose = view.cam_from_world
    in_camera = points @ pose[:3, :3].T + pose[:3, 3]
    in_front = in_camera[:, 2] > 0
    in_camera[~in_front] = (0, 0, 1)
    u, v = (in_camera[:, :2] / in_camera[:, 2:]).T
    fx, fy, cx, cy, k1, k2, p1, p2 = view.params
    r2 = u * u + v * v
    radial = 1 + k1 * r2 + k2 * r2 * r2
    x = fx * (radial * u + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)) + cx
    y = fy * (radial * v + 2 * p2 * u * v + p1 * (r2 + 2 * v * v)) + cy
    width, height = view.size
    inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
    return np.stack((x, y), 1), in_front & inside


def write_model(folder, view, points):
    """One image, and the points that it sees; returns how many these are."""
    pixels, visible = project(view, points)
    pixels, points = pixels[visible], points[visible]
    folder.mkdir()
    (folder / "cameras.txt").write_text(f"1 {view.camera()}\n")
    (folder / "images.txt").write_text(
        f"1 {view.pose()} 1 {view.name}\n"
        + " ".join(f"{text(xy)} {i + 1}" for i, xy in enumerate(pixels))
        + "\n")
    (folder / "points3D.txt").write_text("".join(
        f"{i + 1} {text(xyz)} 128 128 128 0 1 {i}\n"
        for i, xyz in enumerate(points)))
    return len(points)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, output = map(pathlib.Path, sys.argv[1:])
    try:
        sample = np.load(folder / "sample.npz")  # Refuses pickled objects.
        source = read_view(sample, "source", folder)
        target = read_view(sample, "target", folder)
        points = sample["p3D"].astype(float)
        count = write_model(output / "map", source, points)
        (output / "queries.txt").write_text(
            f"{target.name} {target.camera()}\n")
        (output / "truth.txt").write_text(f"{target.name} {target.pose()}\n")
    except (EOFError, KeyError, OSError, ValueError,
            zipfile.BadZipFile) as error:
        sys.exit(f"error: {folder} is not the NRE repository's assets/sample, "
                 f"or {output} cannot be written: {error}")
    print(f"{source.name} sees {count} of {len(points)} points, "
          f"{target.name} {project(target, points)[1].sum()}")


if __name__ == "__main__":
    main()
