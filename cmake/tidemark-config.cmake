# Defines the target tidemark::tidemark. A shared library names what it needs by itself; what a static one needs, the
# program links, and it is looked for here.
include("${CMAKE_CURRENT_LIST_DIR}/tidemark-targets.cmake")

get_target_property(_tidemark_type tidemark::tidemark TYPE)
if(_tidemark_type STREQUAL "STATIC_LIBRARY")
  include(CMakeFindDependencyMacro)
  list(PREPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")
  find_dependency(Threads)
  find_dependency(ZLIB)
  find_dependency(AbslStrings)
  find_dependency(hwy)
  find_dependency(oneDNN 2.6)
  list(POP_FRONT CMAKE_MODULE_PATH)
endif()
unset(_tidemark_type)
