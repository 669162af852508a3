// Pictures by which people judge a pose: where it projects the points, and what
// the loss maps say there.
#pragma once

#include <string>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"
#include "s2d/feature_preset.h"
#include "s2d/image.h"
#include "s2d/localization.h"

namespace nre {

// The query with every supporting point: a circle where the pose projects it,
// green for a fine peak at that very place to red for one that is 3 px off, and
// a line to ten times the peak's offset. Small dots are the points that have no
// support: occluded, or not recognised. The caption begins with `title` and the
// reason for which the query is not registered.
// points_in_world: [N], those that estimate.support indexes.
// The picture is 1600 pixels wide, plus the caption below.
Image DrawReprojections(const Image& query,
                        const Camera& camera,
                        const std::vector<Eigen::Vector3d>& points_in_world,
                        const PoseEstimate& estimate,
                        const std::string& title);

// Points to show in DrawLossMaps: up to `count`, from the one whose coarse map
// agrees best with the pose to one that contradicts it, in even steps.
// Without a pose (kFailed), ordered by the height of their maps' peaks.
std::vector<size_t> ChooseShownPoints(
    const LossMaps& coarse,
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const PoseEstimate& estimate,
    size_t count);

// A sheet with two pictures for each of the `shown` points: the coarse loss map
// over the darkened query, and the fine map in the window around the
// reprojection. Bright where the map puts the point, i.e. by ln|Omega^| - L as
// a share of its maximum in the map; a cross hair marks the reprojection.
// coarse: maps of all points; fine: maps of the shown points, in their order,
// or null.
Image DrawLossMaps(const Image& query,
                   const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const PoseEstimate& estimate,
                   const LossMaps& coarse,
                   const LossMaps* fine,
                   const std::vector<size_t>& shown,
                   const std::string& title);

struct QueryPictures {
  Image reprojections;
  Image loss_maps;
};

// Both pictures of a query that Localize() has estimated from these inputs;
// computes its maps anew.
QueryPictures DrawQuery(const Image& query,
                        const Camera& camera,
                        const FeaturePreset& preset,
                        const ImageFeatures& features,
                        const DescribedPoints& points,
                        const PoseEstimate& estimate,
                        const std::string& title);

// Writes a JPEG or PNG file, by the path's extension. Throws
// std::runtime_error, naming the path, if that fails.
void WriteImage(const std::string& path, const Image& image);

}  // namespace nre
