/* The AMX set's packings and tile with emulated tiles against doubles: what test_kernels.c checks where AMX is. Run by
 * amx.sh. */
#include "kernel_checks.h"

extern const struct hth_kernels hth_kernels_amx;

static int report(int number, const char *what, int bad)
{
	printf("%s %d - amx with emulated tiles: %s\n", bad == 0 ? "ok" : "not ok", number, what);
	return bad;
}

int main(void)
{
	int bad = 0;

	printf("1..2\n");
	bad += report(1, "products match at every size of tile", check_tile("amx", &hth_kernels_amx.bf16));
	bad += report(2, "product element does not depend on its place", check_tile_places("amx", &hth_kernels_amx.bf16));
	return bad > 0;
}
