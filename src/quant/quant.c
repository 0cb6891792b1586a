/* The table of block formats and its lookups. A format is one file and one line in list.h. */
#include "quant/quant.h"

#include "base/checked.h"

#include <stddef.h>
#include <strings.h>

#define HTH_QUANT(ID, name, ggml, elems, bytes) extern const struct hth_quant_format hth_quant_##name;
#include "quant/list.h"
#undef HTH_QUANT

static const struct hth_quant_format *const formats[HTH_QUANT_COUNT] = {
#define HTH_QUANT(ID, name, ggml, elems, bytes) &hth_quant_##name,
#include "quant/list.h"
#undef HTH_QUANT
};

const struct hth_quant_format *hth_quant_format(enum hth_quant q)
{
	return q >= 0 && q < HTH_QUANT_COUNT ? formats[q] : NULL;
}

enum hth_quant hth_quant_from_ggml(int ggml_type)
{
	for (int i = 0; ggml_type >= 0 && i < HTH_QUANT_COUNT; i++)
		if (formats[i]->ggml_type == ggml_type)
			return (enum hth_quant)i;
	return HTH_QUANT_NONE;
}

enum hth_quant hth_quant_from_name(const char *name)
{
	for (int i = 0; i < HTH_QUANT_COUNT; i++)
		if (strcasecmp(formats[i]->name, name) == 0)
			return (enum hth_quant)i;
	return HTH_QUANT_NONE;
}

enum hth_status hth_quant_row_bytes(enum hth_quant q, uint64_t n_elems, uint64_t *bytes, struct hth_err *err)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	if (f == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "block format %d does not exist", (int)q);
	if (n_elems % f->block_elems != 0)
		return hth_fail(err, HTH_ERR_SHAPE, "a row of %llu elements, expected a multiple of %u for %s",
				(unsigned long long)n_elems, f->block_elems, f->name);
	if (!hth_mul_u64(n_elems / f->block_elems, f->block_bytes, bytes))
		return hth_fail(err, HTH_ERR_LIMIT, "a row of %llu elements of %s does not fit 64 bits",
				(unsigned long long)n_elems, f->name);
	return HTH_OK;
}
