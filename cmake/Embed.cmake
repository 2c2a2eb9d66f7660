# cmake -DOUT=FILE -DHEADER=HEADER -DNAMESPACE=NAME "-DFILES=kName=path;..." -P Embed.cmake
# Writes a C++ file in which each path's content is a std::string_view of that name.
set(text "#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\n\n")
foreach(entry IN LISTS FILES)
  string(REGEX MATCH "^([^=]+)=(.*)$" matched "${entry}")
  set(name "${CMAKE_MATCH_1}")
  # In hexadecimal, which no content can break out of.
  file(READ "${CMAKE_MATCH_2}" content HEX)
  string(LENGTH "${content}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" content "${content}")
  string(APPEND text "const std::string_view ${name}(\"${content}\", ${bytes});\n\n")
endforeach()
string(APPEND text "}  // namespace ${NAMESPACE}\n")
file(WRITE "${OUT}" "${text}")
