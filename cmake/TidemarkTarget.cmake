# One static library a folder: tidemark_<folder>, with the warnings, sanitizers and float rules that all code shares.
# -ffp-contract=off: a result must not depend on which compiler or instruction set fused a multiply and an add; the
# code writes std::fma where it means one.
include(GNUInstallDirs)

# Vector code is compiled for AVX2, AVX-512 and NEON, and without vectors for the rest: each further instruction set
# costs as much compile time as these. Without vectors is HWY_SCALAR: HWY_EMU128 divides by zero in a way of its own.
set(TIDEMARK_HWY_DISABLED "HWY_SSSE3|HWY_SSE4")
if(hwy_VERSION VERSION_GREATER_EQUAL 1.1)
  string(APPEND TIDEMARK_HWY_DISABLED "|HWY_SSE2|HWY_AVX3_DL|HWY_AVX3_ZEN4|HWY_AVX3_SPR")
endif()

function(tidemark_compile_rules target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_definitions(${target} PRIVATE HWY_BROKEN_EMU128=1
                                       "HWY_DISABLED_TARGETS=(${TIDEMARK_HWY_DISABLED})")
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -ffp-contract=off)
  if(TIDEMARK_SANITIZE)
    # Null pointers that are used fault by themselves, and objects that are gone are found by their addresses: the two
    # checks that cost most to compile show nothing more. GCC 12 takes std::regex for uninitialized where it
    # instruments it.
    target_compile_options(${target} PUBLIC -fsanitize=${TIDEMARK_SANITIZE} -fno-sanitize=null,vptr
                                            -fno-omit-frame-pointer -fno-sanitize-recover=all
                                            $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_link_options(${target} PUBLIC -fsanitize=${TIDEMARK_SANITIZE})
    # Sanitizers look at one kind of vectors: others show them nothing more, and take longer to compile than the rest.
    if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
      target_compile_definitions(${target} PRIVATE HWY_COMPILE_ONLY_STATIC)
      target_compile_options(${target} PRIVATE -march=haswell)
    endif()
  endif()
  if(TIDEMARK_FUZZ)
    target_compile_options(${target} PUBLIC -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# PRECOMPILED: headers that most of its files include, besides those of the standard library.
# APART: it is no part of the library that programs link to.
function(tidemark_library name)
  cmake_parse_arguments(ARG "APART" "" "SOURCES;PUBLIC;PRIVATE;PRECOMPILED" ${ARGN})
  add_library(tidemark_${name} STATIC ${ARG_SOURCES})
  add_library(tidemark::${name} ALIAS tidemark_${name})
  tidemark_compile_rules(tidemark_${name})
  # The public headers say what is not hidden.
  set_target_properties(tidemark_${name} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(NOT ARG_APART)
    set_property(GLOBAL APPEND PROPERTY TIDEMARK_PARTS tidemark_${name})
  endif()
  target_include_directories(tidemark_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_include_directories(tidemark_${name} PRIVATE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_link_libraries(tidemark_${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  list(LENGTH ARG_SOURCES files)
  if(files GREATER 4)
    target_precompile_headers(tidemark_${name} PRIVATE "${PROJECT_SOURCE_DIR}/cmake/precompiled.h" ${ARG_PRECOMPILED})
  endif()
endfunction()

# The tests that continuous integration also runs under sanitizers: those with the label of the same name.
add_custom_target(sanitize)
# Those that run under the thread sanitizer; likewise.
add_custom_target(threads)

# A GoogleTest executable of one or more files, which is one CTest test.
function(tidemark_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  tidemark_compile_rules(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gmock GTest::gtest_main OpenMP::OpenMP_CXX)
  # The macros of GoogleTest take as long to optimize as to read.
  target_compile_options(${name} PRIVATE -O1)
  target_precompile_headers(${name} REUSE_FROM test_headers)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 900)
  foreach(group sanitize threads)
    if(${group} IN_LIST ARG_LABELS)
      add_dependencies(${group} ${name})
    endif()
  endforeach()
endfunction()
