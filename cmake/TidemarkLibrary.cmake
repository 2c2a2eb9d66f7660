# The library that programs link to and that is installed: the objects of all folders in one file.

# What the folders link to outside of the project; of some only headers are used.
function(tidemark_outside_links out)
  get_property(parts GLOBAL PROPERTY TIDEMARK_PARTS)
  set(links "")
  foreach(part IN LISTS parts)
    get_target_property(of_part ${part} LINK_LIBRARIES)
    list(APPEND links ${of_part})
  endforeach()
  list(REMOVE_DUPLICATES links)
  list(FILTER links EXCLUDE REGEX "^tidemark::|NOTFOUND$|^nlohmann_json::|^xxHash::|^absl::inlined_vector$")
  set(${out} "${links}" PARENT_SCOPE)
endfunction()

# KIND is STATIC or SHARED.
function(tidemark_whole_library target kind)
  get_property(parts GLOBAL PROPERTY TIDEMARK_PARTS)
  tidemark_outside_links(links)
  list(TRANSFORM parts REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE objects)
  add_library(${target} ${kind} ${objects})
  tidemark_compile_rules(${target})
  target_include_directories(${target} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME tidemark EXPORT_NAME tidemark)
  if(kind STREQUAL "STATIC")
    # OpenMP by the names of its libraries: programs may be compiled by another compiler, which has another OpenMP.
    list(REMOVE_ITEM links OpenMP::OpenMP_CXX)
    list(TRANSFORM OpenMP_CXX_LIB_NAMES REPLACE "(.+)" "$<INSTALL_INTERFACE:\\1>" OUTPUT_VARIABLE openmp)
    target_link_libraries(${target} PRIVATE ${links} $<BUILD_INTERFACE:OpenMP::OpenMP_CXX> ${openmp})
    return()
  endif()
  # Through a target between them: what is exported would otherwise name the shared ones.
  add_library(${target}_links INTERFACE)
  target_link_libraries(${target}_links INTERFACE ${links})
  target_link_libraries(${target} PRIVATE ${target}_links)
  # Before 1.0 each minor version may change the interface.
  set_target_properties(${target} PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  # Hidden is what no public header declares; the script hides what is instantiated of other libraries' templates.
  set(script "${PROJECT_SOURCE_DIR}/cmake/libtidemark.map")
  target_link_options(${target} PRIVATE "LINKER:--version-script=${script}")
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${script}")
  if(NOT TIDEMARK_SANITIZE)
    target_link_options(${target} PRIVATE LINKER:--no-undefined)
  endif()
endfunction()
