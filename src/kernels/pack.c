/* Which encoder of a format runs here. */
#include "kernels/pack.h"

#include "kernels/detect.h"
#include "kernels/pack_int.h"

#include <stdlib.h>
#include <string.h>

static hth_pack_fn *const *best(void)
{
#if defined(__x86_64__)
	if (hth_has_avx2())
		return hth_pack_v3;
#endif
#if defined(__aarch64__)
	return hth_pack_arm;
#else
	return NULL;
#endif
}

hth_pack_fn *hth_pack_pick(enum hth_quant q)
{
	const char *forced = getenv("HEARTH_CPU");
	hth_pack_fn *const *table = forced != NULL && strcmp(forced, "ref") == 0 ? NULL : best();

	return table != NULL && table[q] != NULL ? table[q] : hth_quant_format(q)->pack;
}
