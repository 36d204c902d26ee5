# lathe_test(NAME SOURCES... LIBRARIES... [LABEL unit] [TIMEOUT 60]): one cmocka group, one ctest test.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

# Tests convert between integer kinds freely; the rules on conversions are for the product. Linked after
# lathe_flags, so that these options come last and win.
add_library(lathe_test_flags INTERFACE)
target_compile_options(lathe_test_flags INTERFACE -Wno-conversion -Wno-sign-conversion -Wno-missing-prototypes)

function(lathe_test name)
    cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT ARG_LABEL)
        set(ARG_LABEL unit)
    endif()
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE lathe_flags lathe_test_flags lathe_test_support ${ARG_LIBRARIES}
                          PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
