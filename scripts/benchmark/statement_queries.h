// Queries of a scene about which the user states something: a focal length, a
// principal point, no distortion, a prior of the pose; right, or wrong.
#pragma once

#include "scripts/benchmark/verdict_scenes.h"

namespace nre {

// Replaces the queries of a scene by what may be stated about those that belong
// to it and are not made hard: of each one query per kind. "as it is" and
// "focal length unknown" are what the other kinds are compared with. New images
// are written beside the old ones unless they are there.
void StateAboutQueries(StudyScene* scene);

}  // namespace nre
