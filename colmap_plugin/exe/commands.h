// The commands of this project. argv[0] is the program's name, the options
// follow; the exit code is returned.
#pragma once

namespace nre {

int RunHlocMatchesExporter(int argc, char** argv);
int RunHlocMatchesImporter(int argc, char** argv);
int RunNreImageRegistrator(int argc, char** argv);
int RunNreLocalizer(int argc, char** argv);
int RunPoseEvaluator(int argc, char** argv);
int RunS2dMatcher(int argc, char** argv);
int RunTrainingExporter(int argc, char** argv);

}  // namespace nre
