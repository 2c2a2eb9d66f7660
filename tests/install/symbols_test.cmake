# What a shared library shows: names of the namespace, and of these none that only the library's own files know.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND "${NM}" -D --defined-only "${LIBRARY}" OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \n]+\n" names "${text}")
list(TRANSFORM names STRIP)

set(others ${names})
list(FILTER others EXCLUDE REGEX "^_Z[A-Z]+8tidemark")
set(internal ${names})
list(FILTER internal INCLUDE REGEX
  "^_Z[A-Z]+8tidemark(4core|4loop|3ops|5tools|6memory|6report|7compute|6detail6Engine|6detail6Handle|.*(4Impl|5State|4File|4Pass)[CD0-9])")
foreach(name IN LISTS others internal)
  message(SEND_ERROR "${LIBRARY} shows ${name}")
endforeach()

# A function, a class with its type and virtual table, an error that is thrown across.
foreach(name _ZN8tidemark7versionEv _ZN8tidemark7SessionC1ENS_14SessionOptionsE _ZTIN8tidemark5AnyOpE
             _ZTVN8tidemark2nn6LinearE _ZTIN8tidemark11BudgetErrorE)
  if(NOT name IN_LIST names)
    message(SEND_ERROR "${LIBRARY} does not show ${name}")
  endif()
endforeach()
