// Command-line options in COLMAP's habits: `--name value`, `--Group.name value`
// and an ini file named by `--project_path`, over which the command line wins.
#pragma once

#include <string>

#include <boost/program_options.hpp>

namespace nre {

class OptionParser {
 public:
  // `usage`: what the command does, printed by -h above the options.
  OptionParser(const std::string& command, const std::string& usage);

  // The value that `option` has now is the default.
  template <typename T>
  void Add(const std::string& name, T* option, const std::string& description) {
    options_.add_options()(
        name.c_str(),
        boost::program_options::value<T>(option)->default_value(*option),
        description.c_str());
  }

  // A string without a default, for paths.
  void AddPath(const std::string& name,
               std::string* option,
               const std::string& description);

  // Returns false if help was asked for and printed. Throws InputError for an
  // unknown option or a value that cannot be read.
  bool Parse(int argc, char** argv);

 private:
  std::string command_;
  std::string usage_;
  std::string project_path_;
  boost::program_options::options_description options_;
};

}  // namespace nre
