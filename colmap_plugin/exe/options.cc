#include "colmap_plugin/exe/options.h"

#include <iostream>

#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"

namespace nre {

namespace po = boost::program_options;

OptionParser::OptionParser(const std::string& command, const std::string& usage)
    : command_(command), usage_(usage) {
  options_.add_options()("help,h", "print this");
  AddPath("project_path",
          &project_path_,
          "ini file with options of this command; the command line wins");
}

void OptionParser::AddPath(const std::string& name,
                           std::string* option,
                           const std::string& description) {
  options_.add_options()(
      name.c_str(), po::value<std::string>(option), description.c_str());
}

bool OptionParser::Parse(int argc, char** argv) {
  const std::string help = " See: colmap_nre " + command_ + " -h";
  try {
    po::variables_map values;
    // Abbreviated names would change their meaning with every new option.
    po::store(po::command_line_parser(argc, argv)
                  .options(options_)
                  .positional(po::positional_options_description())
                  .style(po::command_line_style::default_style &
                         ~po::command_line_style::allow_guessing)
                  .run(),
              values);
    if (values.count("help") > 0) {
      std::cout << "colmap_nre " << command_ << ": " << usage_ << "\n\n"
                << options_;
      return false;
    }
    // What is stored first wins.
    if (values.count("project_path") > 0) {
      const std::string path = values["project_path"].as<std::string>();
      std::ifstream file = OpenTextFile(path);
      if (!file) {
        throw InputError("The project file " + path + " cannot be read.");
      }
      po::store(po::parse_config_file(file, options_), values);
    }
    po::notify(values);
  } catch (const po::error& error) {
    throw InputError(std::string(error.what()) + "." + help);
  }
  return true;
}

}  // namespace nre
