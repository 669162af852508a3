// Dense features that are computed once for queries that show the same picture.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "s2d/feature_extractor.h"
#include "s2d/feature_preset.h"

namespace nre {

// An extractor that keeps the last few results.
class CachedExtractor : public FeatureExtractor {
 public:
  explicit CachedExtractor(std::unique_ptr<FeatureExtractor> extractor)
      : extractor_(std::move(extractor)) {}

  using FeatureExtractor::Extract;
  int Channels() const override { return extractor_->Channels(); }
  double Stride() const override { return extractor_->Stride(); }
  bool UnitNorm() const override { return extractor_->UnitNorm(); }
  double MaxScale(int width, int height) const override {
    return extractor_->MaxScale(width, height);
  }

  FeatureMap Extract(const Image& image, double scale) const override {
    const Key key = {std::hash<std::string_view>()(
                         {reinterpret_cast<const char*>(image.rgb.data()),
                          image.rgb.size()}),
                     scale};
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& [cached, features] : cache_) {
        if (cached == key) return *features;
      }
    }
    auto features =
        std::make_shared<FeatureMap>(extractor_->Extract(image, scale));
    std::lock_guard<std::mutex> lock(mutex_);
    cache_.emplace_front(key, features);
    if (cache_.size() > kMaxNumCached) cache_.pop_back();
    return *features;
  }

 private:
  static constexpr size_t kMaxNumCached = 12;
  using Key = std::pair<size_t, double>;

  std::unique_ptr<FeatureExtractor> extractor_;
  mutable std::mutex mutex_;
  mutable std::list<std::pair<Key, std::shared_ptr<const FeatureMap>>> cache_;
};

inline void CacheFeatures(FeaturePreset* preset) {
  preset->coarse = std::make_unique<CachedExtractor>(std::move(preset->coarse));
  preset->fine = std::make_unique<CachedExtractor>(std::move(preset->fine));
}

}  // namespace nre
