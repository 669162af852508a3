#include "s2d/descriptor_comparison.h"

#include <charconv>
#include <cmath>
#include <locale>
#include <sstream>

#include "nre/error.h"

namespace nre {
namespace {

constexpr char kSoftmaxScale[] = "softmax_scale";
constexpr char kUnitNorm[] = "unit_norm";

[[noreturn]] void Refuse(const std::string& path,
                         const std::string& entry,
                         const std::string& value,
                         const std::string& expected) {
  throw InputError("The header of the weights " + path + " has the " + entry +
                   " '" + value + "'. Expected " + expected +
                   ", as scripts/convert_weights.py and nre_trainer write it.");
}

}  // namespace

DescriptorComparison ReadDescriptorComparison(const StoredMetadata& metadata,
                                              const std::string& path) {
  DescriptorComparison comparison;
  const auto scale = metadata.find(kSoftmaxScale);
  if (scale != metadata.end()) {
    const std::string& text = scale->second;
    const char* end = text.data() + text.size();
    float value = 0.0f;
    const auto result = std::from_chars(text.data(), end, value);
    if (result.ec != std::errc() || result.ptr != end ||
        !std::isfinite(value) || !(value > 0.0f)) {
      Refuse(path, kSoftmaxScale, text, "a positive number");
    }
    comparison.softmax_scale = value;
  }
  const auto unit_norm = metadata.find(kUnitNorm);
  if (unit_norm != metadata.end()) {
    const std::string& text = unit_norm->second;
    if (text != "0" && text != "1") Refuse(path, kUnitNorm, text, "0 or 1");
    comparison.unit_norm = text == "1";
  }
  return comparison;
}

void AddDescriptorComparison(const DescriptorComparison& comparison,
                             StoredMetadata* metadata) {
  if (comparison.softmax_scale) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text.precision(8);
    text << *comparison.softmax_scale;
    (*metadata)[kSoftmaxScale] = text.str();
  }
  if (comparison.unit_norm) {
    (*metadata)[kUnitNorm] = *comparison.unit_norm ? "1" : "0";
  }
}

}  // namespace nre
