// A query as it is localized: with its picture turned, so that what lies on its
// side in the file is seen as the references show it. Results are turned back,
// so that nobody else knows of it.
#pragma once

#include <memory>
#include <string>

#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/results.h"
#include "nre/camera.h"
#include "nre/point_match.h"
#include "s2d/image.h"

namespace nre {

class TurnedQuery {
 public:
  // `num_quarters`: of a full turn, clockwise, 0 to 3.
  TurnedQuery(const Query& query, int num_quarters);

  // The query with its priors turned; its camera is that of the file.
  const Query& query() const { return query_; }

  // The turned picture. Throws InputError as ReadCameraImage() does.
  Image ReadImage(const std::string& image_path) const;

  // The turned picture's camera, of this one of the file. Throws InputError for
  // a camera that cannot be used.
  std::unique_ptr<Camera> CreateCamera(const colmap::Camera& camera) const;

  // COLMAP's estimator, for matches in the turned picture. Keeps the reference
  // to this.
  MatchSolver LoRansac() const;

  // Makes what was found in the turned picture that of the file: poses,
  // covariances and image coordinates.
  void TurnBack(QueryResult* result) const;
  CameraCorrection TurnBack(const CameraCorrection& correction) const;

 private:
  Query query_;
  PictureTurn turn_;
};

}  // namespace nre
