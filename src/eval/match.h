/* Does an answer hold what was expected? Numbers match as numbers: "2 ppm" is not in "1200 ppm", "1,200 ppm" is
 * "1200 ppm". Case and runs of white space do not count. */
#ifndef HTH_EVAL_MATCH_H
#define HTH_EVAL_MATCH_H

#include "base/status.h"

/* Both texts are normalised (ASCII case, white space, digit-group commas) and compared whole. */
bool hth_match_exact(const char *answer, size_t answer_bytes, const char *expected, size_t expected_bytes);
/* expected occurs in answer, with no digit, decimal part or letter cut at either end. An empty expectation never
 * matches. False when memory runs out or a text is above 16 MiB. */
bool hth_match_contains(const char *answer, size_t answer_bytes, const char *expected, size_t expected_bytes);

#endif
