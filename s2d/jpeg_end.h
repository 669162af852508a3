// Where the picture of a JPEG file ends that has no end-of-image marker, as
// frames of a camera's stream and panoramas with a maker's trailer do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace nre {

bool IsJpeg(const std::vector<uint8_t>& bytes);

// Whether the stream of a JPEG file reaches its end-of-image marker.
bool HasEndOfImage(const std::vector<uint8_t>& jpeg);

// The number of bytes at the front that all coefficients of the picture are
// decoded from, in full accuracy (of a progressive file: in all scans). None if
// the file ends before, or where that cannot be told (arithmetic coding).
std::optional<size_t> FindPictureEnd(const std::vector<uint8_t>& jpeg);

}  // namespace nre
