/* Picks kernels: starts from ref and lays every set over it that this machine runs, in list order. */
#include "kernels/kernels.h"

#include "kernels/detect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of sets for another architecture appear in the table without their code. */
#define FOR_any(...) __VA_ARGS__
#if defined(__x86_64__)
#define FOR_x86(...) __VA_ARGS__
#else
#define FOR_x86(...)
#endif
#if defined(__aarch64__)
#define FOR_arm(...) __VA_ARGS__
#else
#define FOR_arm(...)
#endif

#define HTH_KERNELS(name, arch, ...) FOR_##arch(extern const struct hth_kernels hth_kernels_##name;)
#include "kernels/list.h"
#undef HTH_KERNELS

struct set {
	const char *name, *arch;
	struct hth_tile_shape f32, bf16;   /* mr 0: another's */
	const struct hth_kernels *kernels; /* NULL: another architecture's */
	bool (*has)(void);
};

static const struct set sets[] = {
#define HTH_KERNELS(set_name, set_arch, rows, cols, unit, bf16_rows, bf16_cols, bf16_unit)                             \
	{.name = #set_name,                                                                                            \
	 .arch = #set_arch,                                                                                            \
	 .f32 = {rows, cols, 1, unit},                                                                                 \
	 .bf16 = {bf16_rows, bf16_cols, 2, bf16_unit},                                                                 \
	 FOR_##set_arch(.kernels = &hth_kernels_##set_name, .has = hth_has_##set_name)},
#include "kernels/list.h"
#undef HTH_KERNELS
};

enum { N_SETS = sizeof sets / sizeof sets[0] };

/* Asked once a set and kept: in a virtual machine CPUID leaves the guest, and costs ask for the tile all the time.
 * Threads that race here write the same answer. */
static bool is_present(const struct set *s)
{
	static _Atomic signed char known[N_SETS]; /* 0: not asked yet, 1: present, -1: not */
	_Atomic signed char *k = &known[s - sets];

	if (s->kernels == NULL)
		return false;
	if (*k == 0)
		*k = s->has() ? 1 : -1;
	return *k > 0;
}

static int find(const char *name)
{
	for (int i = 0; i < N_SETS; i++)
		if (strcmp(sets[i].name, name) == 0)
			return i;
	return -1;
}

/* The slots that `from` fills replace those of `out`. */
static void lay_over(const struct hth_kernels *from, const char *name, struct hth_kernel_pick *out)
{
	out->name = name;
	if (from->product.tile != NULL) {
		out->k.product = from->product;
		out->product_winner = name;
	}
	if (from->bf16.tile != NULL) {
		out->k.bf16 = from->bf16;
		out->bf16_winner = name;
	}
#define HTH_KERNEL_SLOT(slot)                                                                                          \
	if (from->slot != NULL) {                                                                                      \
		out->k.slot = from->slot;                                                                              \
		out->winner[HTH_KERNEL_SLOT_##slot] = name;                                                            \
	}
#include "kernels/slotlist.h"
#undef HTH_KERNEL_SLOT
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		if (from->unpack[q] != NULL) {
			out->k.unpack[q] = from->unpack[q];
			out->unpack_winner[q] = name;
		}
		if (from->matvec[q] != NULL) {
			out->k.matvec[q] = from->matvec[q];
			out->matvec_winner[q] = name;
		}
		if (from->matvec16[q] != NULL)
			out->k.matvec16[q] = from->matvec16[q];
	}
}

/* "ref, avx2, avx512": what runs here. */
static const char *present_names(char *out, size_t bytes)
{
	size_t at = 0;

	out[0] = '\0';
	for (int i = 0; i < N_SETS; i++) {
		if (!is_present(&sets[i]) || at >= bytes)
			continue;
		int n = snprintf(out + at, bytes - at, "%s%s", at > 0 ? ", " : "", sets[i].name);
		at += n > 0 ? (size_t)n : 0;
	}
	return out;
}

static enum hth_status find_ceiling(const char *ceiling, int *last, struct hth_err *err)
{
	char names[128];
	const char *from = ceiling != NULL ? "kernels" : "HEARTH_CPU";

	if (ceiling == NULL)
		ceiling = getenv("HEARTH_CPU");
	*last = N_SETS - 1;
	if (ceiling == NULL || ceiling[0] == '\0')
		return HTH_OK;
	*last = find(ceiling);
	if (*last < 0)
		return hth_fail(err, HTH_ERR_USAGE, "%s: found \"%.40s\", expected one of %s", from, ceiling,
				present_names(names, sizeof names));
	if (!is_present(&sets[*last]))
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: this processor has no %s; it has %s", from, ceiling,
				present_names(names, sizeof names));
	return HTH_OK;
}

enum hth_status hth_kernels_pick(const char *ceiling, struct hth_kernel_pick *out, struct hth_err *err)
{
	int last;
	enum hth_status rc = find_ceiling(ceiling, &last, err);

	if (rc != HTH_OK)
		return rc;
	*out = (struct hth_kernel_pick){0};
	for (int i = 0; i <= last; i++)
		if (is_present(&sets[i]))
			lay_over(sets[i].kernels, sets[i].name, out);
	return HTH_OK;
}

const char *hth_kernel_slot_name(enum hth_kernel_slot s)
{
	static const char *const names[] = {
#define HTH_KERNEL_SLOT(name) #name,
#include "kernels/slotlist.h"
#undef HTH_KERNEL_SLOT
	};
	return s >= 0 && s < HTH_KERNEL_SLOT_COUNT ? names[s] : NULL;
}

struct hth_kernel_info hth_kernels_info(int i)
{
	struct hth_kernel_info r = {0};

	if (i < 0 || i >= N_SETS)
		return r;
	r.name = sets[i].name;
	r.present = is_present(&sets[i]);
	for (int j = 0; j <= i; j++) {
		if (strcmp(sets[j].arch, "any") != 0 && strcmp(sets[j].arch, sets[i].arch) != 0)
			continue;
		if (sets[j].f32.mr > 0)
			r.f32 = sets[j].f32;
		if (sets[j].bf16.mr > 0)
			r.bf16 = sets[j].bf16;
	}
	return r;
}

struct hth_kernel_info hth_kernels_find(const char *name)
{
	int i = name != NULL ? find(name) : N_SETS - 1;

	if (name == NULL && find_ceiling(NULL, &i, NULL) != HTH_OK)
		i = N_SETS - 1;
	while (name == NULL && !is_present(&sets[i]))
		i--; /* ends at ref */
	return hth_kernels_info(i);
}

bool hth_kernels_bf16_pays(const char *ceiling)
{
	struct hth_kernel_pick pick;

	return hth_kernels_pick(ceiling, &pick, NULL) == HTH_OK && strcmp(pick.bf16_winner, "ref") != 0 &&
	       hth_bf16_pays();
}
