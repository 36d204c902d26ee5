/* grpc_test_server.c - the fixture's server as a program, for clients that are not written in C:
 * prints its address, runs until its standard input ends, then stops as a server should. */
#include <stdio.h>

#include "tests/unit/grpc/grpc_fixture.h"

int main(void)
{
    struct fixture *fixture = fixture_start(&(struct fixture_options){0});

    lathe_grpc_server_set_serving(fixture->server, true);
    (void)printf("%s\n", fixture->address);
    (void)fflush(stdout);
    while (getchar() != EOF)
        continue;
    fixture_stop(fixture);
    return 0;
}
