// The peaks of loss maps, as positions finer than a cell.
#pragma once

#include <cstddef>

#include <Eigen/Core>

#include "nre/loss_maps.h"

namespace nre {

// Local maximum of the point's weights, smoothed with `sigma` cells, near
// `start`, by mean shift. Map coordinates.
Eigen::Vector2d RefinePeak(const LossMaps& maps,
                           size_t point,
                           const Eigen::Vector2d& start,
                           double sigma = 1.0);

// The maps that are left when a matcher keeps nothing but the peak cell of
// each: one-hot correspondence maps, whose loss is zero at the peak and
// ln|Omega^| elsewhere (Germain et al., CVPR 2021, section 7.1), so that Eq. 9
// becomes Eq. 11. An uninformative map stays uninformative.
DenseLossMaps OneHotMaps(const LossMaps& maps);

}  // namespace nre
