# The libraries that the rooms link. Used by this project and, installed beside
# the exported targets, by projects that find_package(colmap_nre).

include_guard()

# Finds COLMAP, 3.8 or 4.x, through COLMAP_ROOT, COLMAP_DIR or
# CMAKE_PREFIX_PATH, and defines the target nre_colmap, with the macro
# NRE_COLMAP_VERSION (308, 401) for code that must tell the versions apart.
function(nre_find_colmap)
  # 3.8's package file adds definitions and flags to whoever asks for it: the
  # definitions are put back below, the flags stay inside this function.
  get_directory_property(definitions COMPILE_DEFINITIONS)
  # No version: 4.x would match exactly. Ceres must have been found before, or
  # both may define glog::glog.
  find_package(COLMAP CONFIG REQUIRED)
  set_directory_properties(PROPERTIES COMPILE_DEFINITIONS "${definitions}")

  if(NOT COLMAP_VERSION MATCHES "^([0-9]+)\\.([0-9]+)")
    message(FATAL_ERROR "Cannot read COLMAP's version '${COLMAP_VERSION}'")
  endif()
  math(EXPR version "100 * ${CMAKE_MATCH_1} + ${CMAKE_MATCH_2}")
  if(NOT version EQUAL 308 AND version LESS 401)
    message(FATAL_ERROR "COLMAP ${COLMAP_VERSION} is not supported, but 3.8 "
                        "and 4.1 are. Set COLMAP_ROOT to one of these.")
  endif()

  # Imported, so that its headers are system headers, free of our warnings.
  add_library(nre_colmap INTERFACE IMPORTED GLOBAL)
  target_compile_definitions(nre_colmap INTERFACE NRE_COLMAP_VERSION=${version})
  if(TARGET colmap::colmap)
    target_link_libraries(nre_colmap INTERFACE colmap::colmap)
  else()
    target_include_directories(nre_colmap INTERFACE ${COLMAP_INCLUDE_DIRS})
    target_link_directories(nre_colmap INTERFACE ${COLMAP_LINK_DIRS})
    target_link_libraries(nre_colmap INTERFACE ${COLMAP_LIBRARIES})
    if(COLMAP_OPENMP_ENABLED)
      find_package(OpenMP REQUIRED COMPONENTS CXX)
      target_compile_definitions(nre_colmap INTERFACE OPENMP_ENABLED)
      target_link_libraries(nre_colmap INTERFACE OpenMP::OpenMP_CXX)
    endif()
  endif()

  # The `colmap` executable of that installation, for tests and the demo.
  find_program(NRE_COLMAP_EXECUTABLE colmap
               HINTS ${COLMAP_DIR}/../../bin ${COLMAP_DIR}/../../../bin)
  message(STATUS "COLMAP ${COLMAP_VERSION}: ${COLMAP_DIR}, "
                 "executable: ${NRE_COLMAP_EXECUTABLE}")
endfunction()

# Defines the target nre_openblas: BLAS with its C interface. The reference
# BLAS would do the same work ten times slower.
function(nre_find_openblas)
  find_library(NRE_OPENBLAS_LIBRARY openblas REQUIRED)
  find_path(NRE_OPENBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas REQUIRED)
  add_library(nre_openblas INTERFACE IMPORTED GLOBAL)
  target_include_directories(nre_openblas
                             INTERFACE ${NRE_OPENBLAS_INCLUDE_DIR})
  target_link_libraries(nre_openblas INTERFACE ${NRE_OPENBLAS_LIBRARY})
endfunction()

# Defines the target nre_exif: libexif, which has no package file for CMake.
function(nre_find_exif)
  find_library(NRE_EXIF_LIBRARY exif REQUIRED)
  find_path(NRE_EXIF_INCLUDE_DIR libexif/exif-data.h REQUIRED)
  add_library(nre_exif INTERFACE IMPORTED GLOBAL)
  target_include_directories(nre_exif INTERFACE ${NRE_EXIF_INCLUDE_DIR})
  target_link_libraries(nre_exif INTERFACE ${NRE_EXIF_LIBRARY})
endfunction()

# nre_find_dependencies(<room>...)
macro(nre_find_dependencies)
  find_package(Eigen3 REQUIRED)
  find_package(Ceres REQUIRED)
  if("${ARGN}" MATCHES "s2d|colmap_plugin")
    find_package(Threads REQUIRED)
    # Link single modules only, and never opencv_dnn: it brings a protobuf that
    # may not be LibTorch's.
    find_package(OpenCV REQUIRED COMPONENTS core calib3d imgproc imgcodecs)
    find_package(JPEG REQUIRED)
    nre_find_exif()
    nre_find_openblas()
  endif()
  if("${ARGN}" MATCHES "colmap_plugin")
    find_package(HDF5 REQUIRED COMPONENTS C)
    find_package(nlohmann_json REQUIRED)
    find_package(SQLite3 REQUIRED)
    nre_find_colmap()
    find_package(Boost REQUIRED COMPONENTS program_options)
  endif()
endmacro()
