// What image files say about how they were taken.
#pragma once

#include <string>

namespace nre {

// Quarters of a full turn, clockwise, that bring the pixels of a JPEG file
// upright, as its EXIF orientation says: 0 to 3. 0 for other files, those that
// cannot be read, and those without such a tag. What is mirrored besides
// (orientations 2, 4, 5 and 7) stays mirrored.
int QuartersToUpright(const std::string& path);

}  // namespace nre
