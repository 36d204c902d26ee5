/* check.h - assertions on our own code. Bytes from outside are never asserted: they are decoded. */
#ifndef LATHE_BASE_CHECK_H
#define LATHE_BASE_CHECK_H

/* Prints the failed condition to stderr and aborts. */
_Noreturn void lathe_check_failed(const char *condition, const char *file, int line);

/* Always on: arguments and invariants, one condition each, no side effects. */
#define LATHE_REQUIRE(condition) \
    ((condition) ? (void)0 : lathe_check_failed(#condition, __FILE__, __LINE__))

/* For costly checks: on unless NDEBUG. */
#ifdef NDEBUG
#define LATHE_DEBUG_ASSERT(condition) ((void)0)
#else
#define LATHE_DEBUG_ASSERT(condition) LATHE_REQUIRE(condition)
#endif

#define LATHE_UNREACHABLE() lathe_check_failed("unreachable", __FILE__, __LINE__)
#endif
