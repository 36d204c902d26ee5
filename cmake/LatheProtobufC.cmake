# lathe_protobuf_c(TARGET PROTO...): C messages of .proto files (paths relative to proto/), as a library.
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_GEN_C protoc-gen-c REQUIRED)
find_path(PROTOBUF_INCLUDE google/protobuf/any.proto REQUIRED)

function(lathe_protobuf_c target)
    set(generated)
    foreach(proto ${ARGN})
        string(REPLACE ".proto" ".pb-c.c" source ${proto})
        string(REPLACE ".proto" ".pb-c.h" header ${proto})
        set(path ${CMAKE_SOURCE_DIR}/proto/${proto})
        if(NOT EXISTS ${path})
            set(path ${PROTOBUF_INCLUDE}/${proto}) # google's well-known types
        endif()
        add_custom_command(
            OUTPUT ${CMAKE_BINARY_DIR}/proto/${source} ${CMAKE_BINARY_DIR}/proto/${header}
            COMMAND ${PROTOC} --plugin=protoc-gen-c=${PROTOC_GEN_C} -I${CMAKE_SOURCE_DIR}/proto
                    -I${PROTOBUF_INCLUDE} --c_out=${CMAKE_BINARY_DIR}/proto ${path}
            DEPENDS ${path}
            VERBATIM)
        list(APPEND generated ${CMAKE_BINARY_DIR}/proto/${source} ${CMAKE_BINARY_DIR}/proto/${header})
    endforeach()
    add_library(${target} STATIC ${generated})
    target_include_directories(${target} PUBLIC ${CMAKE_BINARY_DIR}/proto)
    target_link_libraries(${target} PUBLIC PkgConfig::PROTOBUF_C)
endfunction()
