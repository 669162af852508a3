#include "s2d/jpeg_end.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <set>

#include <jpeglib.h>
// After jpeglib.h, whose types it needs.
#include <jerror.h>

namespace nre {
namespace {

// What libjpeg reports of a file.
struct ErrorHandler {
  jpeg_error_mgr manager;  // first, so that a pointer to it is one to this
  jmp_buf on_error;
  bool is_damaged = false;
};

ErrorHandler* HandlerOf(j_common_ptr jpeg) {
  return reinterpret_cast<ErrorHandler*>(jpeg->err);
}

[[noreturn]] void OnError(j_common_ptr jpeg) {
  std::longjmp(HandlerOf(jpeg)->on_error, 1);
}

// Bits that a scan lacks are taken as zero, with the first of these warnings;
// what is not of the picture leads to the others. A file that merely ends has
// none.
void OnMessage(j_common_ptr jpeg, int /*level*/) {
  const int code = jpeg->err->msg_code;
  if (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
      code == JWRN_MUST_RESYNC) {
    HandlerOf(jpeg)->is_damaged = true;
  }
}

// Whether the scans until now have all bits of all coefficients.
bool HasAllScans(const jpeg_decompress_struct& jpeg,
                 const bool* has_component) {
  for (int c = 0; c < jpeg.num_components; ++c) {
    if (!has_component[c]) return false;
    // How many bits each coefficient lacks; -1: all.
    if (jpeg.progressive_mode &&
        std::any_of(jpeg.coef_bits[c],
                    jpeg.coef_bits[c] + DCTSIZE2,
                    [](int bits) { return bits != 0; })) {
      return false;
    }
  }
  return true;
}

// FindPictureEnd(), for what libjpeg takes for the picture.
std::optional<size_t> DecodeScans(const uint8_t* bytes, size_t size) {
  jpeg_decompress_struct state;
  ErrorHandler errors;
  state.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = &OnError;
  errors.manager.emit_message = &OnMessage;
  bool has_component[MAX_COMPONENTS] = {};
  std::optional<size_t> end;
  jpeg_create_decompress(&state);
  // Nothing with a destructor lives between here and what may jump back.
  if (setjmp(errors.on_error) == 0) {
    jpeg_mem_src(&state, bytes, size);
    jpeg_read_header(&state, TRUE);
    state.buffered_image = TRUE;  // coefficients only, scan by scan
    jpeg_start_decompress(&state);
    int status = JPEG_REACHED_SOS;
    while (status != JPEG_REACHED_EOI && !errors.is_damaged && !end &&
           !state.arith_code) {
      status = jpeg_consume_input(&state);
      if (status == JPEG_SCAN_COMPLETED && !errors.is_damaged) {
        for (int i = 0; i < state.comps_in_scan; ++i) {
          has_component[state.cur_comp_info[i]->component_index] = true;
        }
        if (HasAllScans(state, has_component)) {
          end = size - state.src->bytes_in_buffer;
        }
      }
    }
  }
  jpeg_destroy_decompress(&state);
  return end;
}

// The number of bytes without those at the end that are all the same: what is
// left of a download may be filled up with zeros.
size_t SizeWithoutFill(const std::vector<uint8_t>& bytes) {
  const auto end = std::find_if(bytes.rbegin(), bytes.rend(), [&](uint8_t b) {
    return b != bytes.back();
  });
  return bytes.rend() - end;
}

}  // namespace

bool IsJpeg(const std::vector<uint8_t>& bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 &&
         bytes[2] == 0xFF;
}

// Markers are walked (ITU T.81, B.1), since the bytes of the end marker alone
// occur in embedded thumbnails too.
bool HasEndOfImage(const std::vector<uint8_t>& jpeg) {
  constexpr uint8_t kFirstRestart = 0xD0, kEndOfImage = 0xD9;
  size_t i = 2;  // after the start-of-image marker
  while (i + 1 < jpeg.size()) {
    const uint8_t code = jpeg[i + 1];
    if (jpeg[i] != 0xFF || code == 0xFF) {
      ++i;  // entropy-coded data, fill bytes, or junk that decoders skip
    } else if (code == kEndOfImage) {
      return true;
    } else if (code <= 0x01 || (code >= kFirstRestart && code < kEndOfImage)) {
      i += 2;  // stuffed zero, restart marker: without a length
    } else {
      if (i + 3 >= jpeg.size()) return false;
      i += 2 + 256 * jpeg[i + 2] + jpeg[i + 3];
    }
  }
  return false;
}

std::optional<size_t> FindPictureEnd(const std::vector<uint8_t>& jpeg) {
  std::optional<size_t> end = DecodeScans(jpeg.data(), jpeg.size());
  if (end.has_value() && *end < jpeg.size()) {
    // What fills up the file may have been decoded in place of the picture.
    end = DecodeScans(jpeg.data(), SizeWithoutFill(jpeg));
  }
  // libjpeg reads a few bytes ahead.
  while (end.has_value() && DecodeScans(jpeg.data(), *end - 1).has_value()) {
    --*end;
  }
  return end;
}

}  // namespace nre
