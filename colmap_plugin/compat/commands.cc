#include "colmap_plugin/compat/commands.h"

#if NRE_COLMAP_VERSION < 400
// clang-format off
#include <base/reconstruction.h>
// clang-format on
#include <exe/feature.h>
#include <exe/sfm.h>
#include <util/logging.h>
#include <util/version.h>
#else
#include <colmap/exe/feature.h>
#include <colmap/exe/model.h>
#include <colmap/exe/sfm.h>
#include <colmap/util/logging.h>
#include <colmap/util/oiio_utils.h>
#include <colmap/util/version.h>
#endif

namespace nre {

std::vector<std::pair<std::string, CommandFunction>> ColmapCommands() {
  return {
    {"automatic_reconstructor", &colmap::RunAutomaticReconstructor},
        {"bundle_adjuster", &colmap::RunBundleAdjuster},
        {"color_extractor", &colmap::RunColorExtractor},
        {"exhaustive_matcher", &colmap::RunExhaustiveMatcher},
        {"feature_extractor", &colmap::RunFeatureExtractor},
        {"feature_importer", &colmap::RunFeatureImporter},
        {"hierarchical_mapper", &colmap::RunHierarchicalMapper},
        {"mapper", &colmap::RunMapper},
        {"matches_importer", &colmap::RunMatchesImporter},
        {"point_filtering", &colmap::RunPointFiltering},
        {"point_triangulator", &colmap::RunPointTriangulator},
        {"sequential_matcher", &colmap::RunSequentialMatcher},
        {"spatial_matcher", &colmap::RunSpatialMatcher},
        {"transitive_matcher", &colmap::RunTransitiveMatcher},
        {"vocab_tree_matcher", &colmap::RunVocabTreeMatcher},
#if NRE_COLMAP_VERSION < 400
        {"rig_bundle_adjuster", &colmap::RunRigBundleAdjuster},
#else
        {"geometric_verifier", &colmap::RunGeometricVerifier},
        {"global_mapper", &colmap::RunGlobalMapper},
        {"model_aligner", &colmap::RunModelAligner},
        {"model_analyzer", &colmap::RunModelAnalyzer},
        {"model_comparer", &colmap::RunModelComparer},
        {"model_converter", &colmap::RunModelConverter},
        {"model_cropper", &colmap::RunModelCropper},
        {"model_merger", &colmap::RunModelMerger},
        {"model_orientation_aligner", &colmap::RunModelOrientationAligner},
        {"model_splitter", &colmap::RunModelSplitter},
        {"model_transformer", &colmap::RunModelTransformer},
        {"pose_prior_mapper", &colmap::RunPosePriorMapper},
#endif
  };
}

void InitializeColmap(char** argv) {
  colmap::InitializeGlog(argv);
#if NRE_COLMAP_VERSION >= 400
  colmap::EnsureOpenImageIOInitialized();
#endif
}

std::string ColmapVersion() { return colmap::GetVersionInfo(); }

std::vector<std::string> ImageColumnsOfColmap() {
#if NRE_COLMAP_VERSION < 400
  return {"prior_qw",
          "prior_qx",
          "prior_qy",
          "prior_qz",
          "prior_tx",
          "prior_ty",
          "prior_tz"};
#else
  return {};
#endif
}

}  // namespace nre
