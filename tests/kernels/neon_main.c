/* The kernel checks on a 64-bit Arm processor, real or emulated: built by neon.sh without cmocka. Prints a line a check;
 * the argument names the set that must be the highest here. */
#include "kernel_checks.h"

#include <stdlib.h>

static int report(const char *set, const char *what, int bad)
{
	printf("%s - %s: %s\n", bad == 0 ? "ok" : "not ok", set, what);
	return bad;
}

/* All slots, or of a set laid over others only those that it fills. */
enum part { ALL, MATVECS, PRODUCTS };

static int check_set(const char *set, enum part part, const struct hth_kernels *ref)
{
	struct hth_kernel_pick pick;
	struct hth_err err;
	int bad = 0;

	if (setenv("HEARTH_CPU", set, 1) != 0)
		return report(set, "cannot be forced", 1);
	if (hth_kernels_pick(NULL, &pick, &err) != HTH_OK) {
		bool expected = err.status == HTH_ERR_UNAVAILABLE && !hth_kernels_find(set).present;
		printf("%s - %s # SKIP %s\n", expected ? "ok" : "not ok", set, err.text);
		return !expected;
	}
	const struct hth_kernels *k = &pick.k;
	bad += report(set, "HEARTH_CPU forces it", strcmp(pick.name, set) != 0);
	if (part != MATVECS) {
		bad += report(set, "products match at every size of tile", check_tile(set, &k->product) + check_tile(set, &k->bf16));
		bad += report(set, "product element does not depend on its place",
		              check_tile_places(set, &k->product) + check_tile_places(set, &k->bf16));
	}
	if (part != PRODUCTS)
		bad += report(set, "matvec errs by the rounding of x alone", check_matvecs(set, k));
	if (part != ALL)
		return bad;
	bad += report(set, "tiles over f16 have the bits of tiles over f32",
	              check_tile_half(set, &k->product, k->halves) + check_halves(set, k->halves));
	bad += report(set, "every block format unpacks", check_formats(set, k));
	bad += report(set, "sums match", check_sums(set, k, ref));
	bad += report(set, "elementwise kernels match", check_elementwise(set, k, ref));
	bad += report(set, "kernels of a delta net match", check_delta(set, k, ref));
	bad += report(set, "exp is good to 3e-7", check_exp(set, k));
	return bad + report(set, "dropout has the bits of ref", check_dropout(set, k, ref));
}

/* Nobody asks for a set: the highest of this processor. bf16 is taken by itself only where it is known to pay, which no
 * emulated processor is. */
static int check_choice(const char *highest)
{
	struct hth_kernel_pick pick;
	struct hth_err err;

	if (unsetenv("HEARTH_CPU") != 0 || hth_kernels_pick(NULL, &pick, &err) != HTH_OK)
		return report(highest, "nothing is picked", 1);
	return report(highest, "is the highest here", strcmp(pick.name, highest) != 0) +
	       report(highest, "bf16 is not taken by itself", hth_kernels_bf16_pays(NULL));
}

int main(int argc, char **argv)
{
	struct hth_kernel_pick ref;
	struct hth_err err;
	int bad = 0;

	if (argc != 2 || hth_kernels_pick("ref", &ref, &err) != HTH_OK) {
		printf("usage: checks HIGHEST-SET\n");
		return 1;
	}
	bad += check_set("neon", ALL, &ref.k);
	bad += check_set("dotprod", MATVECS, &ref.k);
	bad += check_set("i8mm", MATVECS, &ref.k);
	bad += check_set("neonbf16", PRODUCTS, &ref.k);
	bad += check_choice(argv[1]);
	return bad != 0;
}
