#!/usr/bin/env python3
"""COLMAP 4.2.1 goes on from a model and its database, which it changes.

  going_on.py <database> <images> <model> <new folder>

Prints, in JSON, what of it mapping, triangulation and bundle adjustment make:
the number of images, of points, and of the points that the image q0.png
observes.
"""

import json
import os
import sys

import pycolmap


def summary(model):
    query = next(i for i in model.images.values() if i.name == "q0.png")
    return {
        "images": model.num_reg_images(),
        "points": model.num_points3D(),
        "query_points": query.num_points3D,
    }


def main(database, images, model_path, output):
    assert pycolmap.__version__ == "4.2.1", pycolmap.__version__
    seen = {}
    os.makedirs(output + "/mapped")
    mapped = pycolmap.incremental_mapping(
        database, images, output + "/mapped", input_path=model_path
    )
    assert len(mapped) == 1, mapped
    seen["mapper"] = summary(mapped[0])
    os.makedirs(output + "/triangulated")
    seen["point_triangulator"] = summary(
        pycolmap.triangulate_points(
            pycolmap.Reconstruction(model_path),
            database,
            images,
            output + "/triangulated",
        )
    )
    adjusted = pycolmap.Reconstruction(model_path)
    pycolmap.bundle_adjustment(adjusted)
    seen["bundle_adjuster"] = summary(adjusted)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
