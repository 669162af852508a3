#include "colmap_plugin/controllers/matching_controller.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

using NamePairs = std::vector<std::pair<std::string, std::string>>;

TEST(PlanSearches, Directions) {
  const NamePairs pairs = {{"a", "b"}, {"b", "c"}, {"c", "d"}, {"b", "a"}};
  const std::set<std::string> with_keypoints = {"a", "b"};
  NamePairs without;
  // A pair that is listed both ways is searched both ways; from c, which has no
  // keypoints, the pair is turned round.
  EXPECT_THAT(PlanSearches(pairs, false, with_keypoints, 10, &without),
              UnorderedElementsAre(
                  Search{"a", "b"}, Search{"b", "a"}, Search{"b", "c"}));
  EXPECT_THAT(without, ElementsAre(std::pair("c", "d")));
  without.clear();
  EXPECT_THAT(PlanSearches({{"c", "a"}, {"a", "c"}, {"a", "b"}},
                           true,
                           with_keypoints,
                           10,
                           &without),
              UnorderedElementsAre(
                  Search{"a", "b"}, Search{"b", "a"}, Search{"a", "c"}));
  EXPECT_THAT(without, IsEmpty());
}

// Runs through the searches with a cache of `size` images; returns how often
// features have to be computed.
size_t NumExtractions(const std::vector<Search>& searches, size_t size) {
  std::vector<std::string> cached;  // least recently used first
  size_t num = 0;
  for (const Search& search : searches) {
    for (const std::string& name : {search.from, search.to}) {
      const auto found = std::find(cached.begin(), cached.end(), name);
      if (found != cached.end()) {
        cached.erase(found);
      } else {
        ++num;
        if (cached.size() == size) cached.erase(cached.begin());
      }
      cached.push_back(name);
    }
  }
  return num;
}

TEST(PlanSearches, FeaturesAreComputedSeldom) {
  NamePairs pairs;
  std::set<std::string> names;
  for (char a = 'a'; a <= 't'; ++a) {
    names.insert(std::string(1, a));
    for (char b = 'a'; b < a; ++b) {
      pairs.emplace_back(std::string(1, b), std::string(1, a));
    }
  }
  NamePairs without;
  const std::vector<Search> searches =
      PlanSearches(pairs, false, names, 10, &without);
  EXPECT_EQ(searches.size(), 190);
  EXPECT_EQ(NumExtractions(searches, 20), 20);
  // 20 images in 4 blocks of 5, 6 pairs of blocks.
  EXPECT_LE(NumExtractions(searches, 10), 6 * 10);
}

// Of a walk, each image with the ten before it, by names that do not say so.
TEST(PlanSearches, FeaturesAreComputedSeldomWhateverTheNames) {
  constexpr int kNumImages = 300;
  std::vector<std::string> names(kNumImages);
  for (int i = 0; i < kNumImages; ++i) names[i] = std::to_string(i);
  std::mt19937 random(1);
  std::shuffle(names.begin(), names.end(), random);
  NamePairs pairs;
  for (int i = 0; i < kNumImages; ++i) {
    for (int j = std::max(0, i - 10); j < i; ++j) {
      pairs.emplace_back(names[j], names[i]);
    }
  }
  NamePairs without;
  const std::vector<Search> searches =
      PlanSearches(pairs, false, {names.begin(), names.end()}, 50, &without);
  EXPECT_EQ(searches.size(), pairs.size());
  EXPECT_LE(NumExtractions(searches, 50), 2 * kNumImages);
}

TEST(ParallelFor, EverythingOnce) {
  for (const int num_threads : {1, 3, -1}) {
    std::vector<std::atomic<int>> counts(100);
    ParallelFor(100, num_threads, [&](size_t i) { ++counts[i]; });
    for (const auto& count : counts) EXPECT_EQ(count, 1);
  }
  ParallelFor(0, 2, [](size_t) { ADD_FAILURE(); });
}

TEST(ParallelFor, StopsAtAnException) {
  std::atomic<int> num{0};
  const auto work = [&](size_t i) {
    ++num;
    if (i == 3) throw InputError("three");
  };
  EXPECT_THROW(ParallelFor(100000, 2, work), InputError);
  EXPECT_LT(num, 100000);
}

TEST(LruCacheTest, ForgetsTheLeastRecentlyUsed) {
  LruCache<int, int> cache(2);
  int num = 0;
  const auto get = [&](int key) {
    return *cache.Get(key, [&] {
      ++num;
      return std::make_shared<const int>(10 * key);
    });
  };
  EXPECT_EQ(get(1), 10);
  EXPECT_EQ(get(2), 20);
  EXPECT_EQ(get(1), 10);
  EXPECT_EQ(num, 2);
  get(3);  // forgets 2
  get(1);
  EXPECT_EQ(num, 3);
  get(2);
  EXPECT_EQ(num, 4);
  EXPECT_THROW(
      cache.Get(9,
                []() -> std::shared_ptr<const int> { throw InputError("9"); }),
      InputError);
}

// The second pass on matches that are made up: three images of 100 x 100 pixels
// in a database, of which a and b have a hundred keypoints on a plane that
// moves by a pixel from image to image.
class WriteTest : public testing::Test {
 protected:
  WriteTest()
      : database_path_(folder_ / "database.db"),
        preset_(CreateFeaturePreset("dense_sift")) {
    const RunResult result =
        RunColmapNre({"database_creator", "--database_path", database_path_},
                     ColmapOnPath());
    EXPECT_EQ(result.exit_code, 0) << result.output;
    RunSql(database_path_,
           // SIMPLE_PINHOLE f = 500, cx = 320, cy = 240.
           "INSERT INTO cameras VALUES (1, 0, 640, 480, "
           "x'0000000000407F4000000000000074400000000000006E40', 1);"
           "INSERT INTO images(image_id, name, camera_id) VALUES (1, 'c', 1), "
           "(2, 'b', 1), (3, 'a', 1);");
    Database database(database_path_, Database::Mode::kReadWrite);
    database.AppendKeypoints(IdOf("a"), Grid(0.0));
    database.AppendKeypoints(IdOf("b"), Grid(1.0));
    database.Commit();
    options_.verification.min_num_inliers = 15;
    // Cells of two pixels.
    options_.snap_radius_cells = 0.5;
    options_.merge_radius_cells = 0.5;
  }

  static colmap::image_t IdOf(const std::string& name) {
    return name == "a" ? 3 : name == "b" ? 2 : 1;
  }

  static std::vector<Eigen::Vector2d> Grid(double shift) {
    std::vector<Eigen::Vector2d> keypoints;
    for (int i = 0; i < 100; ++i) {
      keypoints.emplace_back(50.0 + 20.0 * (i % 10) + shift,
                             50.0 + 20.0 * (i / 10));
    }
    return keypoints;
  }

  // Every keypoint was found `shift` pixels to the right of the grid.
  void AddRaw(const Search& search, double shift, float score = 0.5f) {
    const Database database(database_path_, Database::Mode::kReadOnly);
    const std::vector<Eigen::Vector2d> keypoints =
        database.ReadKeypoints(IdOf(search.from));
    std::vector<RawMatch> matches;
    for (uint32_t i = 0; i < 100; ++i) {
      const Eigen::Vector2d xy = Grid(shift)[i];
      matches.push_back(
          {i, static_cast<float>(xy.x()), static_cast<float>(xy.y()), score});
    }
    file_.Write(search.from,
                search.to,
                HashOfBytes(keypoints.data(),
                            keypoints.size() * sizeof(Eigen::Vector2d)),
                matches);
  }

  WriteResult Write(const std::vector<Search>& searches) {
    Database database(database_path_, Database::Mode::kReadWrite);
    MatchingController controller(database.ReadQueries({"a", "b", "c"}),
                                  folder_.path(),
                                  preset_,
                                  options_,
                                  nullptr);
    const WriteResult result =
        controller.Write(searches, file_, &database, nullptr);
    database.Commit();
    return result;
  }

  TestFolder folder_;
  std::string database_path_;
  FeaturePreset preset_;
  MatchingControllerOptions options_;
  RawMatchFile file_{folder_ / "raw", "settings"};
};

TEST_F(WriteTest, DetectionsOfAllPairsBecomeOneKeypoint) {
  const std::vector<Search> searches = {{"a", "b"}, {"a", "c"}, {"b", "c"}};
  AddRaw(searches[0], 1.2);        // near b's own keypoints
  AddRaw(searches[1], 2.2, 0.75);  // c has none
  AddRaw(searches[2], 1.8, 0.25);
  const WriteResult result = Write(searches);
  EXPECT_EQ(result.num_detections, 300);
  EXPECT_EQ(result.num_snapped, 100);
  EXPECT_EQ(result.num_appended, 100);
  ASSERT_EQ(result.pairs.size(), 3);
  for (const PairResult& pair : result.pairs) {
    EXPECT_EQ(pair.num_matches, 100);
    EXPECT_EQ(pair.num_verified, 100);
  }

  const Database database(database_path_, Database::Mode::kReadOnly);
  EXPECT_EQ(database.ReadKeypoints(IdOf("a")).size(), 100);
  EXPECT_EQ(database.ReadKeypoints(IdOf("b")).size(), 100);
  const std::vector<Eigen::Vector2d> keypoints =
      database.ReadKeypoints(IdOf("c"));
  ASSERT_EQ(keypoints.size(), 100);
  // The mean of both, weighted by score.
  std::set<uint32_t> matched;
  for (const auto& [i, j] : database.ReadMatches(IdOf("a"), IdOf("c"))) {
    EXPECT_LT((keypoints[j] - Grid(2.1)[i]).norm(), 1e-4);
    matched.insert(j);
  }
  EXPECT_EQ(matched.size(), 100);
  EXPECT_EQ(database.ReadMatches(IdOf("a"), IdOf("c")),
            database.ReadMatches(IdOf("b"), IdOf("c")));
}

TEST_F(WriteTest, BothDirectionsAreOneToOne) {
  // From b, everything is found a bit beside a's keypoints, and less surely.
  const std::vector<Search> searches = {{"a", "b"}, {"b", "a"}};
  AddRaw(searches[0], 1.0, 0.9f);
  AddRaw(searches[1], 5.0, 0.1f);
  const WriteResult result = Write(searches);
  ASSERT_EQ(result.pairs.size(), 1);
  EXPECT_EQ(result.pairs[0].num_matches, 100);
  EXPECT_EQ(result.num_appended, 100);
  const Database database(database_path_, Database::Mode::kReadOnly);
  const auto matches =
      database.ReadMatches(IdOf("a"), IdOf("b"), Database::Matches::kRaw);
  ASSERT_EQ(matches.size(), 100);
  for (const auto& [i, j] : matches) EXPECT_EQ(i, j);
}

TEST_F(WriteTest, MatchesThatAreThereAreKept) {
  {
    Database database(database_path_, Database::Mode::kReadWrite);
    database.WriteMatches(IdOf("a"), IdOf("b"), {{7, 8}}, {});
    database.Commit();
  }
  AddRaw({"a", "b"}, 1.0);
  Write({{"a", "b"}});
  const Database database(database_path_, Database::Mode::kReadOnly);
  const auto matches =
      database.ReadMatches(IdOf("a"), IdOf("b"), Database::Matches::kRaw);
  EXPECT_EQ(matches.size(), 99);  // those of 7 and to 8 have lost
  EXPECT_EQ(std::count(matches.begin(), matches.end(), std::pair(7u, 8u)), 1);
}

// Guided matching leaves such, and what was verified by hand.
TEST_F(WriteTest, MatchesThatAreOnlyVerifiedAreKept) {
  {
    Database database(database_path_, Database::Mode::kReadWrite);
    TwoViewGeometry geometry;
    geometry.inliers = {{7, 8}};
    database.WriteMatches(IdOf("a"), IdOf("b"), {{7, 9}}, geometry);
    database.Commit();
  }
  AddRaw({"a", "b"}, 1.0);
  Write({{"a", "b"}});
  const Database database(database_path_, Database::Mode::kReadOnly);
  const auto matches =
      database.ReadMatches(IdOf("a"), IdOf("b"), Database::Matches::kRaw);
  EXPECT_EQ(matches.size(), 99);
  EXPECT_EQ(std::count(matches.begin(), matches.end(), std::pair(7u, 8u)), 1);
}

TEST_F(WriteTest, MatchesOfKeypointsThatAreNotThere) {
  {
    Database database(database_path_, Database::Mode::kReadWrite);
    database.WriteMatches(IdOf("a"), IdOf("b"), {{7, 100}}, {});
    database.Commit();
  }
  AddRaw({"a", "b"}, 1.0);
  try {
    Write({{"a", "b"}});
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("keypoints that it does not have"));
  }
}

TEST_F(WriteTest, TooFewAreNotVerified) {
  options_.verification.min_num_inliers = 101;
  AddRaw({"a", "b"}, 1.0);
  const WriteResult result = Write({{"a", "b"}});
  EXPECT_EQ(result.pairs[0].num_matches, 100);
  EXPECT_EQ(result.pairs[0].num_verified, 0);
}

TEST_F(WriteTest, ChangedKeypointsAreAnError) {
  AddRaw({"a", "b"}, 1.0);
  {
    Database database(database_path_, Database::Mode::kReadWrite);
    database.AppendKeypoints(IdOf("a"), Grid(3.0));
    database.Commit();
  }
  const std::string before = ReadFile(database_path_);
  try {
    Write({{"a", "b"}});
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("have changed"));
  }
  EXPECT_EQ(ReadFile(database_path_), before);
}

TEST_F(WriteTest, BadOptions) {
  options_.max_num_cached_images = 1;
  EXPECT_THROW(Write({}), InputError);
}

}  // namespace
}  // namespace nre
