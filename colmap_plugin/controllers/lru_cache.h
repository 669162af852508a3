// Values that are computed when they are needed for the first time, of which
// the least recently used are forgotten.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>

namespace nre {

// Serves several threads at once: each value is computed by one of them while
// the others that need it wait.
template <typename Key, typename Value>
class LruCache {
 public:
  using ValuePtr = std::shared_ptr<const Value>;

  // Holds `max_size` >= 1 values.
  explicit LruCache(size_t max_size) : max_size_(max_size) {}

  // What `compute` throws is thrown to all who wait for this value, now and
  // later.
  ValuePtr Get(const Key& key, const std::function<ValuePtr()>& compute) {
    std::promise<ValuePtr> promise;
    std::shared_future<ValuePtr> value;
    bool is_new = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto slot = slots_.find(key);
      is_new = slot == slots_.end();
      if (is_new) {
        Forget();
        value = promise.get_future().share();
        slots_[key] = {value, ++num_uses_};
      } else {
        value = slot->second.value;
        slot->second.last_use = ++num_uses_;
      }
    }
    if (is_new) {
      try {
        promise.set_value(compute());
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    }
    return value.get();
  }

 private:
  struct Slot {
    std::shared_future<ValuePtr> value;
    uint64_t last_use = 0;
  };

  void Forget() {
    while (slots_.size() >= max_size_) {
      slots_.erase(std::min_element(
          slots_.begin(), slots_.end(), [](const auto& a, const auto& b) {
            return a.second.last_use < b.second.last_use;
          }));
    }
  }

  size_t max_size_;
  std::mutex mutex_;
  std::map<Key, Slot> slots_;
  uint64_t num_uses_ = 0;
};

}  // namespace nre
