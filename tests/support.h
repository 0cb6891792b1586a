/* What every unit test needs: cmocka and its prerequisites, and a few helpers. Tests run in the project's root.
 * A test that needs what is not here calls skip_because("..."), which the runner counts as skipped. */
#ifndef HTH_TESTS_SUPPORT_H
#define HTH_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"

#define skip_because(why)                                                                                              \
	do {                                                                                                           \
		fprintf(stderr, "skipped %s: %s\n", __func__, why);                                                    \
		skip();                                                                                                \
	} while (0)

/* Fails with the error's own text. */
#define assert_ok(call)                                                                                                \
	do {                                                                                                           \
		if ((call) != HTH_OK)                                                                                  \
			fail_msg("%s: %s", #call, err.text);                                                           \
	} while (0)

/* The call must fail with this status and a text that contains `part`. */
#define assert_fails(call, want_status, part)                                                                          \
	do {                                                                                                           \
		enum hth_status got_ = (call);                                                                         \
		if (got_ != (want_status) || strstr(err.text, part) == NULL)                                           \
			fail_msg("%s: status %d \"%s\", expected %d \"...%s...\"", #call, (int)got_,                   \
			         got_ ? err.text : "", (int)(want_status), part);                                      \
	} while (0)

/* The unpacked fixtures: $HTH_FIXTURES, build/fixtures/public, else NULL. tests/run.sh unpacks them. */
static inline const char *fixtures_dir(void)
{
	const char *dir = getenv("HTH_FIXTURES");
	if (dir != NULL && dir[0] != '\0')
		return dir;
	return access("build/fixtures/public", R_OK) == 0 ? "build/fixtures/public" : NULL;
}

#endif
