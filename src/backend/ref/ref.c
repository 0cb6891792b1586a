/* The reference backend: the definition of every op in plain loops, for readers and tests. Read an op's file here
 * first, then its fast version in backend/cpu. */
#include "backend/ref/ref_int.h"
#include "base/checked.h"
#include "base/mem.h"

extern const struct hth_backend hth_backend_ref;

struct ref_device {
	const struct hth_backend *backend;
};

static enum hth_compute ref_compute(enum hth_compute wanted, const char *kernels)
{
	(void)kernels;
	return wanted == HTH_COMPUTE_AUTO ? HTH_COMPUTE_F32 : wanted;
}

static enum hth_status ref_open(const struct hth_device_config *cfg, struct hth_device **out, struct hth_err *err)
{
	*out = NULL;
	if (cfg->compute == HTH_COMPUTE_BF16)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend ref: computes in f32 only");
	struct ref_device *dev = hth_calloc(1, sizeof *dev);
	if (dev == NULL)
		return hth_fail_memory(err, "a device", sizeof *dev);
	dev->backend = &hth_backend_ref;
	*out = (struct hth_device *)dev;
	return HTH_OK;
}

static void ref_close(struct hth_device *dev)
{
	hth_free(dev);
}

static uint64_t ref_prepare_bytes(const struct hth_machine *m, const struct hth_weight *w, bool both)
{
	(void)m, (void)w, (void)both;
	return 0;
}

static enum hth_status ref_prepare(struct hth_device *dev, struct hth_weight *w, bool both, struct hth_err *err)
{
	(void)dev, (void)both, (void)err;
	w->prepared = NULL;
	return HTH_OK;
}

static void ref_unprepare(struct hth_device *dev, struct hth_weight *w)
{
	(void)dev;
	w->prepared = NULL;
}

/* Bytes of K and V together; UINT64_MAX when they pass 62 bits or a size is out of range. */
static uint64_t key_value_bytes(const struct hth_state_shape *s)
{
	uint64_t bytes = 0, one;

	if (s->n_layers < 0 || s->n_layers > HTH_STATE_LAYERS || s->capacity < 0)
		return UINT64_MAX;
	for (int64_t l = 0; l < s->n_layers; l++) {
		int64_t kv = hth_state_kv(s, l), head = hth_state_head(s, l);
		if (kv < 0 || head < 0 || !hth_mul_u64((uint64_t)kv, (uint64_t)head, &one) ||
		    !hth_mul_u64(one, (uint64_t)s->capacity, &one) || !hth_mul_u64(one, 2 * sizeof(float), &one) ||
		    !hth_add_u64(bytes, one, &bytes) || bytes > UINT64_MAX / 4)
			return UINT64_MAX;
	}
	return bytes;
}

int64_t ref_state_at(const struct hth_state_shape *s, int64_t layer)
{
	int64_t at = 0;

	for (int64_t l = 0; l < layer; l++)
		at += s->capacity * hth_state_kv(s, l) * hth_state_head(s, l);
	return at;
}

static uint64_t ref_state_bytes(const struct hth_state_shape *s)
{
	uint64_t bytes = key_value_bytes(s);

	return hth_add_u64(bytes, hth_recurrent_bytes(&s->recurrent), &bytes) ? bytes : UINT64_MAX;
}

static void ref_state_free(struct hth_device *dev, struct hth_state *s)
{
	struct ref_state *state = (struct ref_state *)s;

	(void)dev;
	if (state == NULL)
		return;
	hth_recurrent_free(state->recurrent);
	hth_free(state->k);
	hth_free(state);
}

static enum hth_status ref_state_new(struct hth_device *dev, const struct hth_state_shape *s, struct hth_state **out,
                                     struct hth_err *err)
{
	uint64_t bytes = key_value_bytes(s);
	struct ref_state *state = NULL;
	enum hth_status st = HTH_OK;

	*out = NULL;
	if (bytes <= SIZE_MAX / 2)
		state = hth_calloc(1, sizeof *state);
	if (state != NULL)
		state->k = hth_calloc((size_t)(bytes / sizeof(float)), sizeof(float));
	if (state == NULL || state->k == NULL)
		st = hth_fail_memory(err, "a state's keys and values", bytes > SIZE_MAX ? SIZE_MAX : (size_t)bytes);
	else
		st = hth_recurrent_new(&s->recurrent, &state->recurrent, err);
	if (st != HTH_OK) {
		ref_state_free(dev, (struct hth_state *)state);
		return st;
	}
	state->shape = *s;
	state->v = state->k + bytes / sizeof(float) / 2;
	*out = (struct hth_state *)state;
	return HTH_OK;
}

static int64_t ref_state_reach(const struct hth_state *s, int64_t n)
{
	return hth_recurrent_reach(((const struct ref_state *)s)->recurrent, n);
}

enum hth_status ref_find_moves(const struct hth_batch *b, int32_t layer, enum hth_recurrent_part part, int64_t elems,
                               struct ref_move *moves, struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	for (int32_t i = 0; i < b->n_segments && st == HTH_OK; i++) {
		const struct hth_segment *g = &b->segments[i];
		moves[i] = (struct ref_move){NULL, NULL};
		if (g->state < 0)
			continue;
		struct ref_state *state = (struct ref_state *)b->states[g->state];
		st = hth_recurrent_move(state != NULL ? state->recurrent : NULL, layer, part, elems, g->past, g->len,
		                        &moves[i].from, &moves[i].to, err);
	}
	return st;
}

static const char *ref_describe(const struct hth_device *dev)
{
	(void)dev;
	return "ref, 1 thread, f32";
}

static void ref_machine(const struct hth_device *dev, struct hth_machine *out)
{
	(void)dev;
	*out = (struct hth_machine){.threads = 1, .compute = HTH_COMPUTE_F32, .kernels = "ref"};
}

void ref_unpack_row(const struct hth_weight *w, int64_t n, float *out)
{
	hth_quant_format(w->quant)->unpack(hth_weight_row(w, n), out, w->cols);
}

float *ref_grad_row(const struct hth_weight *w, int64_t n)
{
	return w->param->grad + hth_weight_stored_row(w, n) * w->cols;
}

bool ref_is_trained(const struct hth_weight *w)
{
	return w != NULL && w->param != NULL && w->param->grad != NULL;
}

const struct hth_backend hth_backend_ref = {
	.name = "ref",
	.host_memory = true,
	.compute = ref_compute,
	.open = ref_open,
	.close = ref_close,
	.prepare_bytes = ref_prepare_bytes,
	.prepare = ref_prepare,
	.unprepare = ref_unprepare,
	.state_bytes = ref_state_bytes,
	.state_new = ref_state_new,
	.state_free = ref_state_free,
	.state_reach = ref_state_reach,
	.describe = ref_describe,
	.machine = ref_machine,
	.slot = {
#define HTH_OP(name) [HTH_OP_##name] = {ref_##name##_cost, ref_##name},
#include "backend/oplist.h"
#undef HTH_OP
	},
};
