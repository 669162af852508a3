#include "s2d/fusion.h"

#include "nre/error.h"

namespace nre {

const char* FusionName(Fusion fusion) {
  switch (fusion) {
    case Fusion::kNearest:
      return "nearest";
    case Fusion::kMean:
      return "mean";
    case Fusion::kMax:
      return "max";
    case Fusion::kSum:
      break;
  }
  return "sum";
}

Fusion ParseFusion(const std::string& name) {
  for (const Fusion fusion :
       {Fusion::kNearest, Fusion::kMean, Fusion::kMax, Fusion::kSum}) {
    if (name == FusionName(fusion)) {
      return fusion;
    }
  }
  throw InputError("unknown fusion of descriptors '" + name +
                   "'; there are: nearest, mean, max, sum");
}

}  // namespace nre
