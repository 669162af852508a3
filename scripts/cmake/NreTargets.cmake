# How targets are made in this project.

include(GNUInstallDirs)
include(GoogleTest)

# nre_target_defaults(<target>): what all our targets have in common. Includes
# are written from the repository's top: "nre/camera.h".
function(nre_target_defaults target)
  # -fopenmp-simd: `#pragma omp simd` in hot loops; brings no OpenMP runtime.
  target_compile_options(${target} PRIVATE -Wall -Wextra -fopenmp-simd)
  target_include_directories(
    ${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                     $<INSTALL_INTERFACE:include/colmap_nre>)
  target_compile_features(${target} PUBLIC cxx_std_17)
endfunction()

# nre_add_library(<room>
#                 SOURCES <file.cc>...
#                 [LINK <target>...]      seen through the room's headers
#                 [LINK_PRIVATE <target>...]
#                 [PCH <header>...])
# The library of a room, with the alias nre::<room>; installed and exported with
# its headers.
function(nre_add_library room)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;LINK;LINK_PRIVATE;PCH")
  # The file is libnre_<room>.a: a libs2d.a could be anybody's.
  add_library(nre_${room} STATIC ${ARG_SOURCES})
  add_library(nre::${room} ALIAS nre_${room})
  set_target_properties(nre_${room} PROPERTIES EXPORT_NAME ${room})
  nre_target_defaults(nre_${room})
  target_link_libraries(
    nre_${room}
    PUBLIC ${ARG_LINK}
    PRIVATE ${ARG_LINK_PRIVATE})
  target_precompile_headers(nre_${room} PRIVATE ${ARG_PCH})
  install(TARGETS nre_${room} EXPORT colmap_nreTargets)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room} DESTINATION include/colmap_nre
          FILES_MATCHING PATTERN "*.h")
endfunction()

# nre_add_executable(<name> SOURCES <file.cc>... [LINK <target>...] [INSTALL])
function(nre_add_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "INSTALL" "" "SOURCES;LINK")
  add_executable(${name} ${ARG_SOURCES})
  nre_target_defaults(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  if(ARG_INSTALL)
    install(TARGETS ${name})
  endif()
endfunction()

# nre_add_test(<room>/<file>_test.cc [<target>...]): adds the file, and what it
# links, to the executable <room>_test; one per room, since linking is slow, but
# networks_test and training_test for what needs LibTorch, slow to load.
# Tests run in the repository's top folder and see the macros NRE_SOURCE_DIR,
# NRE_EXECUTABLE and NRE_COLMAP_EXECUTABLE.
function(nre_add_test file)
  string(REGEX MATCH "^[^/]+" room ${file})
  if(file MATCHES "^s2d/(networks|training)/")
    set(room ${CMAKE_MATCH_1})
  endif()
  if(NOT TARGET ${room}_test)
    nre_add_executable(${room}_test SOURCES ${file}
                       LINK GTest::gtest_main GTest::gmock)
    target_compile_definitions(
      ${room}_test PRIVATE NRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    if(TARGET colmap_nre)
      target_compile_definitions(
        ${room}_test
        PRIVATE NRE_EXECUTABLE="$<TARGET_FILE:colmap_nre>"
                NRE_COLMAP_EXECUTABLE="${NRE_COLMAP_EXECUTABLE}")
    endif()
    target_precompile_headers(${room}_test PRIVATE <gtest/gtest.h>)
    gtest_discover_tests(
      ${room}_test TEST_PREFIX ${room}/ DISCOVERY_MODE PRE_TEST
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} PROPERTIES TIMEOUT 1800)
  else()
    target_sources(${room}_test PRIVATE ${file})
  endif()
  target_link_libraries(${room}_test PRIVATE ${ARGN})
endfunction()
