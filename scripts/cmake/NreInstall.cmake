# The CMake package colmap_nre.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/colmap_nre)
install(EXPORT colmap_nreTargets NAMESPACE nre:: DESTINATION ${package_dir})
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/colmap_nreConfig.cmake.in
  ${PROJECT_BINARY_DIR}/colmap_nreConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/colmap_nreConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/colmap_nreConfig.cmake
              ${PROJECT_BINARY_DIR}/colmap_nreConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/NreDependencies.cmake
        DESTINATION ${package_dir})
