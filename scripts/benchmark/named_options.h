// The command line of a study: options `--name value`, all with a default.
#pragma once

#include <map>
#include <string>

#include "nre/error.h"

namespace nre {

class NamedOptions {
 public:
  // Throws InputError, which lists the options with their defaults, for others
  // and for one without a value.
  NamedOptions(const std::string& program,
               const std::map<std::string, std::string>& defaults,
               int argc,
               char** argv)
      : values_(defaults) {
    for (int i = 1; i < argc; i += 2) {
      const auto value = values_.find(argv[i]);
      if (value == values_.end() || i + 1 == argc) {
        std::string usage = "usage: " + program;
        for (const auto& [name, standard] : defaults) {
          usage += " [" + name + " " + standard + "]";
        }
        throw InputError(usage);
      }
      value->second = argv[i + 1];
    }
  }

  const std::string& operator[](const std::string& name) const {
    return values_.at(name);
  }

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace nre
