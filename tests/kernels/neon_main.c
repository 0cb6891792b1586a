/* The kernel checks on a 64-bit Arm processor, real or emulated: built by neon.sh without cmocka. Prints TAP. */
#include "kernel_checks.h"

static int report(int number, const char *what, int bad)
{
	printf("%s %d - arm %s\n", bad == 0 ? "ok" : "not ok", number, what);
	return bad;
}

int main(void)
{
	struct hth_kernel_pick neon, ref;
	struct hth_err err;
	int bad = 0;

	printf("1..9\n");
	if (hth_kernels_pick("neon", &neon, &err) != HTH_OK || hth_kernels_pick("ref", &ref, &err) != HTH_OK) {
		printf("Bail out! %s\n", err.text);
		return 1;
	}
	bad += report(1, "products match at every size of tile", check_tile("neon", &neon.k.product));
	bad += report(2, "product element does not depend on its place", check_tile_places("neon", &neon.k.product));
	bad += report(3, "every block format unpacks", check_formats("neon", &neon.k));
	bad += report(4, "sums match", check_sums("neon", &neon.k, &ref.k));
	bad += report(5, "elementwise kernels match", check_elementwise("neon", &neon.k, &ref.k));
	bad += report(6, "exp is good to 3e-7", check_exp("neon", &neon.k));
	bad += report(7, "dropout has the bits of ref", check_dropout("neon", &neon.k, &ref.k));
	bad += report(8, "matvec errs by the rounding of x alone", check_matvecs("neon", &neon.k));
	if (hth_kernels_pick("dotprod", &neon, &err) == HTH_OK)
		bad += report(9, "the same with dot products", check_matvecs("dotprod", &neon.k));
	else
		printf("ok 9 - arm dot products # SKIP %s\n", err.text);
	return bad != 0;
}
