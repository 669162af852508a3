#include "s2d/exif.h"

#include <memory>

#include <libexif/exif-data.h>

namespace nre {

int QuartersToUpright(const std::string& path) {
  const std::unique_ptr<ExifData, decltype(&exif_data_unref)> data(
      exif_data_new_from_file(path.c_str()), &exif_data_unref);
  if (data == nullptr) return 0;
  const ExifEntry* entry =
      exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr || entry->format != EXIF_FORMAT_SHORT ||
      entry->components < 1) {
    return 0;
  }
  switch (exif_get_short(entry->data, exif_data_get_byte_order(data.get()))) {
    case 3:
    case 4:
      return 2;
    case 5:
    case 6:
      return 1;
    case 7:
    case 8:
      return 3;
    default:
      return 0;
  }
}

}  // namespace nre
