# Flags that every target of Lathe has. No -march=native and no fast-math: binaries run on any x86-64 and
# give the same bytes everywhere; only the kernel files get instruction-set flags of their own.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g")

add_library(lathe_flags INTERFACE)
target_compile_definitions(lathe_flags INTERFACE _GNU_SOURCE LATHE_VERSION="${PROJECT_VERSION}")
target_compile_options(lathe_flags INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef
    -fno-omit-frame-pointer -fstack-protector-strong)
if(LATHE_WERROR)
    target_compile_options(lathe_flags INTERFACE -Werror)
endif()
target_include_directories(lathe_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/proto)

if(LATHE_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
    add_link_options(-fsanitize=address,undefined)
elseif(LATHE_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread)
    add_link_options(-fsanitize=thread)
elseif(NOT LATHE_SANITIZE STREQUAL "")
    message(FATAL_ERROR "LATHE_SANITIZE is \"${LATHE_SANITIZE}\"; it must be empty, address or thread")
endif()

# lathe_library(NAME SOURCES... [LIBRARIES...]): a static library inside this project.
function(lathe_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES;PRIVATE_LIBRARIES" ${ARGN})
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC ${ARG_LIBRARIES} PRIVATE lathe_flags ${ARG_PRIVATE_LIBRARIES})
endfunction()

# lathe_program(NAME SOURCES... LIBRARIES...)
function(lathe_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE lathe_flags ${ARG_LIBRARIES})
endfunction()
