/* tsan.h - tells ThreadSanitizer of hand-overs between threads that go through a library it does
 * not see (ZeroMQ, gRPC): LATHE_HB_RELEASE(p) before memory is handed over, LATHE_HB_ACQUIRE(p)
 * after it is taken, with the same address. They cost nothing in other builds. */
#ifndef LATHE_BASE_TSAN_H
#define LATHE_BASE_TSAN_H

#if defined(__SANITIZE_THREAD__)
#define LATHE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LATHE_TSAN 1
#endif
#endif

#ifdef LATHE_TSAN
#include <sanitizer/tsan_interface.h>
#define LATHE_HB_RELEASE(address) __tsan_release(address)
#define LATHE_HB_ACQUIRE(address) __tsan_acquire(address)
#else
#define LATHE_HB_RELEASE(address) ((void)(address))
#define LATHE_HB_ACQUIRE(address) ((void)(address))
#endif
#endif
