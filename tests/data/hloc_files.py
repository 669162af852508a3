#!/usr/bin/env python3
"""hloc's HDF5 files, written and read by h5py in the calls that hloc makes.

  hloc_files.py write <folder>                      features.h5 and matches.h5
  hloc_files.py write_dense <folder>                the same of dense matchers:
                                                    dense_features.h5, ...
  hloc_files.py read <features> <matches> <pairs>   as hloc sees them, in JSON
"""

import json
import sys

import h5py
import numpy as np


def write(folder):
    with h5py.File(folder + "/features.h5", "a", libver="latest") as file:
        for i, name in enumerate(["db/one.jpg", "query/night/two.jpg"]):
            group = file.create_group(name)
            keypoints = np.array([[0, 0], [10.25, 20.5], [1500, 3 + i]])
            group.create_dataset("keypoints", data=keypoints.astype(np.float16))
            group.create_dataset("scores", data=np.ones(3, np.float16))
            group.create_dataset(
                "descriptors", data=np.zeros((128, 3), np.float16)
            )
            group.create_dataset("image_size", data=np.array([1600, 1200]))
            group["keypoints"].attrs["uncertainty"] = 1.5625
    with h5py.File(folder + "/matches.h5", "a", libver="latest") as file:
        group = file.create_group("query-night-two.jpg/db-one.jpg")
        group.create_dataset("matches0", data=np.array([2, -1, 0], np.int16))
        group.create_dataset(
            "matching_scores0", data=np.array([0.5, 0, 1], np.float16)
        )


# Keypoints get their numbers as pairs are matched, so that a pair's matches0
# ends with the last keypoint of its own; an image without matches has an empty
# list of keypoints.
def write_dense(folder):
    with h5py.File(folder + "/dense_features.h5", "a") as file:
        for name, keypoints in {
            "a.jpg": [(3.0, 4.0), (11.0, 4.0), (19.0, 12.0), (27.0, 4.0)],
            "b.jpg": [(3.0, 4.0), (11.0, 4.0), (19.0, 12.0)],
            "none.jpg": [],
        }.items():
            group = file.create_group(name)
            group.create_dataset(
                "keypoints", data=np.array(keypoints, dtype=np.float32)
            )
            group.create_dataset("score", data=[1.0] * len(keypoints))
    with h5py.File(folder + "/dense_matches.h5", "a") as file:
        for pair, ids in {
            "a.jpg/b.jpg": [[0, 1], [2, 0]],
            "a.jpg/none.jpg": [],
        }.items():
            ids = np.array(ids, dtype=int).reshape(-1, 2)
            size = np.max(ids[:, 0]) + 1 if len(ids) else 0
            matches0 = np.full(size, -1, np.int32)
            matches0[ids[:, 0]] = ids[:, 1]
            scores0 = (matches0 >= 0).astype(np.float16)
            group = file.create_group(pair)
            group.create_dataset("keypoints0", data=np.zeros((len(ids), 2)))
            group.create_dataset("keypoints1", data=np.zeros((len(ids), 2)))
            group.create_dataset("scores", data=np.ones(len(ids)))
            group.create_dataset("matches0", data=matches0)
            group.create_dataset("matching_scores0", data=scores0)


def read(features, matches, pairs):
    seen = {"features": {}, "matches": {}}
    with h5py.File(features, "r", libver="latest") as file:
        names = set()

        def visit(_, item):
            if isinstance(item, h5py.Dataset):
                names.add(item.parent.name.strip("/"))

        file.visititems(visit)
        for name in names:
            seen["features"][name] = {
                key: [str(array.dtype), array.__array__().tolist()]
                for key, array in file[name].items()
            }
    with open(pairs) as lines, h5py.File(matches, "r", libver="latest") as file:
        for line in lines:
            pair = "/".join(name.replace("/", "-") for name in line.split())
            matches0 = file[pair]["matches0"].__array__()
            scores = file[pair]["matching_scores0"].__array__()
            matched = np.where(matches0 != -1)[0]
            seen["matches"][line.strip()] = [
                np.stack([matched, matches0[matched]], -1).tolist(),
                scores[matched].tolist(),
            ]
    print(json.dumps(seen))


if __name__ == "__main__":
    {"write": write, "write_dense": write_dense, "read": read}[sys.argv[1]](
        *sys.argv[2:]
    )
