/* grpc_log.h - gRPC's own log, in ours. */
#ifndef LATHE_COORDINATOR_GRPC_LOG_H
#define LATHE_COORDINATOR_GRPC_LOG_H
#include <stddef.h>

/* From now on what gRPC calls errors goes to lathe_log as warnings (event "grpc"): most of it is
 * about what clients do, and nobody must act. For the whole process. */
void lathe_grpc_log_redirect(void);

/* Between the two, this thread's gRPC errors are kept instead: the reason why a call of gRPC
 * failed, which it gives nowhere else. The text is cut at `size`. */
void lathe_grpc_log_capture(char *text, size_t size);
void lathe_grpc_log_release(void);
#endif
