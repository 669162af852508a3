// What commands say.
#pragma once

#include <string>
#include <vector>

namespace nre {

// On stderr.
void Warn(const std::string& message);

// Warns unless the message is empty.
void WarnIfAny(const std::string& message);

// "a, b, c and 4 more".
std::string FirstFew(const std::vector<std::string>& names);

// Throws InputError if the option --name has no value.
void Require(const std::string& value, const std::string& name);

// Throws InputError if this is no folder.
void CheckImagePath(const std::string& image_path);

}  // namespace nre
