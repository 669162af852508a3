// The commands that the linked libcolmap brings along.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace nre {

using CommandFunction = std::function<int(int argc, char** argv)>;

// Name and function of each. The functions take argv[0] = name of the program,
// argv[1...] = options. InitializeColmap() must have been called.
std::vector<std::pair<std::string, CommandFunction>> ColmapCommands();

// What COLMAP's own main() does before it runs a command.
void InitializeColmap(char** argv);

// "COLMAP 3.8".
std::string ColmapVersion();

// Columns of a database's table `images` that this COLMAP needs, but does not
// add. 3.8 needs some that newer ones leave out of the databases they make.
std::vector<std::string> ImageColumnsOfColmap();

}  // namespace nre
