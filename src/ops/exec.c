/* Executions: passes, values and their memory, and the one place that calls a backend's slots. The tape is tape.c,
 * the arena's offsets alloc.c. Only backends whose tensors are host pointers run here so far; any backend plans. */
#include "base/machine.h"
#include "base/mem.h"
#include "ops/exec_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_VALUES ((size_t)1 << 24)

const char *hth_exec_op_name(enum hth_op op)
{
	static const char *const names[] = {
#define HTH_OP(name) #name,
#include "backend/oplist.h"
#undef HTH_OP
	};
	return op >= 0 && op < HTH_OP_COUNT ? names[op] : "unknown";
}

enum hth_status hth_exec_new(const struct hth_exec_config *cfg, struct hth_exec **out, struct hth_err *err)
{
	bool run = cfg->mode == HTH_EXEC_RUN;
	struct hth_exec *x = NULL;
	enum hth_status status = HTH_OK;

	*out = NULL;
	if (cfg->backend == NULL || (run && cfg->device == NULL))
		return hth_fail(err, HTH_ERR_USAGE, "execution: no %s given", cfg->backend == NULL ? "backend" : "device");
	if (run && !cfg->backend->host_memory)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend %s: its memory is not the host's, it can only plan here",
		                cfg->backend->name);
	if (run && cfg->arena_bytes > SIZE_MAX / 2)
		return hth_fail(err, HTH_ERR_MEMORY, "execution: an arena of %llu bytes is beyond this machine",
		                (unsigned long long)cfg->arena_bytes);
	x = hth_calloc(1, sizeof *x);
	if (x == NULL)
		return hth_fail_memory(err, "an execution", sizeof *x);
	x->cfg = *cfg;
	x->space.limit = run || cfg->arena_bytes > 0 ? cfg->arena_bytes : UINT64_MAX;
	if (!hth_space_reserve(&x->space, 0)) {
		status = hth_fail_memory(err, "an execution's tables", 0);
		goto done;
	}
	if (run) {
		size_t bytes = (size_t)cfg->arena_bytes;
		x->arena = hth_alloc_large(bytes);
		if (x->arena == NULL) {
			status = hth_fail_memory(err, "the arena of an execution", bytes);
			goto done;
		}
	}
	hth_exec_begin(x, false, (struct hth_dropout){0});
	*out = x;
	x = NULL;
done:
	hth_exec_free(x);
	return status;
}

void hth_exec_free(struct hth_exec *x)
{
	if (x == NULL)
		return;
	hth_free(x->arena);
	hth_free(x->values);
	hth_free(x->records);
	hth_free(x->space.holes);
	hth_free(x);
}

void hth_exec_begin(struct hth_exec *x, bool train, struct hth_dropout drop)
{
	x->err = (struct hth_err){.status = HTH_OK};
	x->train = train;
	x->outer_loss = false;
	x->recompute = 0;
	x->again = false;
	x->drop = drop;
	x->n_values = 0;
	x->n_records = 0;
	hth_space_reset(&x->space);
	x->totals = (struct hth_totals){.peak_ever_bytes = x->totals.peak_ever_bytes};
}

enum hth_status hth_exec_end(struct hth_exec *x, struct hth_err *err)
{
	if (x->err.status != HTH_OK && err != NULL)
		*err = x->err;
	return x->err.status;
}

void hth_exec_outer_loss(struct hth_exec *x)
{
	x->outer_loss = true;
}

const struct hth_totals *hth_exec_totals(const struct hth_exec *x)
{
	return &x->totals;
}

bool hth_exec_planning(const struct hth_exec *x)
{
	return x->cfg.mode == HTH_EXEC_PLAN;
}

const double *hth_exec_seconds(const struct hth_exec *x)
{
	return x->seconds;
}

void hth_exec_fail(struct hth_exec *x, enum hth_status status, const char *fmt, ...)
{
	char text[HTH_ERR_TEXT_BYTES];
	va_list args;

	if (x->err.status != HTH_OK)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	hth_fail(&x->err, status, "%s", text);
}

/* Memory. */

static bool take_bytes(struct hth_exec *x, const char *what, uint64_t bytes, uint64_t *offset)
{
	if (!hth_space_take(&x->space, bytes, offset)) {
		hth_exec_fail(x, hth_exec_planning(x) ? HTH_ERR_MEMORY : HTH_ERR_LIMIT,
		              "%s: needs an arena of at least %llu bytes, %s %llu%s", what,
		              (unsigned long long)hth_space_need(&x->space, bytes),
		              hth_exec_planning(x) ? "the limit is" : "planned were", (unsigned long long)x->space.limit,
		              hth_exec_planning(x) ? "" : "; plan with this very batch");
		return false;
	}
	x->totals.peak_bytes = x->space.peak;
	if (x->space.peak > x->totals.peak_ever_bytes)
		x->totals.peak_ever_bytes = x->space.peak;
	return true;
}

/* Room for one more value and, since every block belongs to one, for the holes between them. */
static bool grow_values(struct hth_exec *x)
{
	size_t cap = x->cap_values;
	struct hth_value *values = hth_grow(x->values, x->n_values, &cap, MAX_VALUES, sizeof *values);

	if (values != NULL)
		x->values = values;
	/* One block more than values: an op's scratch. */
	if (values == NULL || !hth_space_reserve(&x->space, cap + 1)) {
		hth_exec_fail(x, HTH_ERR_MEMORY, "out of memory: the table of %zu values", x->n_values + 1);
		return false;
	}
	x->cap_values = cap;
	return true;
}

struct hth_tensor hth_exec_handle(const struct hth_exec *x, int32_t id)
{
	const struct hth_value *v = &x->values[id];

	return (struct hth_tensor){
		.ctx = x->arena == NULL ? NULL : x->arena + x->values[v->storage].offset,
		.id = id,
		.dtype = HTH_DTYPE_F32,
		.rows = v->rows,
		.cols = v->cols,
	};
}

struct hth_tensor hth_exec_make(struct hth_exec *x, int64_t rows, int64_t cols)
{
	uint64_t elems, bytes, offset;

	if (x->err.status != HTH_OK || !grow_values(x))
		return HTH_NO_TENSOR;
	if (rows < 0 || cols < 0 || __builtin_mul_overflow((uint64_t)rows, (uint64_t)cols, &elems) ||
	    __builtin_mul_overflow(elems, sizeof(float), &bytes) || bytes > INT64_MAX) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "a value of shape (%lld,%lld) is too large", (long long)rows,
		              (long long)cols);
		return HTH_NO_TENSOR;
	}
	if (!take_bytes(x, "a value", bytes, &offset))
		return HTH_NO_TENSOR;
	int32_t id = (int32_t)x->n_values++;
	x->values[id] = (struct hth_value){
		.rows = rows, .cols = cols, .offset = offset, .bytes = bytes, .storage = id, .users = 1, .holders = 1,
		.grad = -1, .call = x->totals.ops,
	};
	return hth_exec_handle(x, id);
}

bool hth_exec_is_sole(const struct hth_exec *x, struct hth_tensor t)
{
	if (!hth_tensor_is(t))
		return false;
	const struct hth_value *v = &x->values[t.id];
	return v->holders == 1 && x->values[v->storage].users == 1;
}

struct hth_tensor hth_exec_make_over(struct hth_exec *x, struct hth_tensor t)
{
	if (!hth_exec_is_sole(x, t))
		return hth_exec_make(x, t.rows, t.cols);
	if (x->err.status != HTH_OK || !grow_values(x))
		return HTH_NO_TENSOR;
	int32_t id = (int32_t)x->n_values++;
	int32_t storage = x->values[t.id].storage;
	x->values[id] =
		(struct hth_value){.rows = t.rows, .cols = t.cols, .storage = storage, .holders = 1, .grad = -1,
	                           .call = x->totals.ops};
	x->values[storage].users++;
	return hth_exec_handle(x, id);
}

struct hth_tensor hth_keep(struct hth_exec *x, struct hth_tensor t)
{
	if (x->err.status == HTH_OK && hth_tensor_is(t)) {
		if ((size_t)t.id < x->n_values && x->values[t.id].holders > 0)
			x->values[t.id].holders++;
		else
			hth_exec_fail(x, HTH_ERR_SHAPE, "keep: value %d has no holder left; keep it before it is used up", t.id);
	}
	return t;
}

void hth_drop(struct hth_exec *x, struct hth_tensor t)
{
	if (x->err.status != HTH_OK || !hth_tensor_is(t))
		return;
	if ((size_t)t.id >= x->n_values || x->values[t.id].holders < 1) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "drop: value %d has no holder left", t.id);
		return;
	}
	struct hth_value *v = &x->values[t.id];
	if (--v->holders > 0)
		return;
	struct hth_value *owner = &x->values[v->storage];
	if (--owner->users == 0)
		hth_space_give(&x->space, owner->offset, owner->bytes);
}

struct hth_tensor hth_exec_leaf(struct hth_exec *x, int64_t rows, int64_t cols, const float *data, bool needs_grad)
{
	struct hth_tensor t = hth_exec_make(x, rows, cols);

	if (hth_tensor_is(t) && t.ctx != NULL && t.rows * t.cols > 0)
		memcpy(t.ctx, data, (size_t)hth_tensor_bytes(t));
	if (hth_tensor_is(t))
		x->values[t.id].needs_grad = x->train && needs_grad;
	return t;
}

/* Slots. */

bool hth_exec_accepts(struct hth_exec *x, enum hth_op op, struct hth_tensor t)
{
	if (x->err.status != HTH_OK)
		return false;
	if (t.id < 0 || (size_t)t.id >= x->n_values || x->values[t.id].holders < 1) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "op %s: value %d has no holder left; keep it before it is used up",
		              hth_exec_op_name(op), t.id);
		return false;
	}
	if (t.rows != x->values[t.id].rows || t.cols != x->values[t.id].cols) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "op %s: the handle of value %d is from another pass", hth_exec_op_name(op),
		              t.id);
		return false;
	}
	return true;
}

/* Costs, scratch, run, and the books. */
enum hth_status hth_exec_call_slot(struct hth_exec *x, enum hth_op op, const void *args, struct hth_err *err)
{
	const struct hth_slot *slot = &x->cfg.backend->slot[op];
	struct hth_cost cost = {0};
	uint64_t offset = 0;
	enum hth_status status = HTH_OK;

	if (slot->run == NULL || slot->cost == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend %s has no op %s", x->cfg.backend->name,
		                hth_exec_op_name(op));
	slot->cost(&x->cfg.machine, args, &cost);
	if (cost.scratch_bytes > 0 && !take_bytes(x, hth_exec_op_name(op), cost.scratch_bytes, &offset)) {
		if (err != NULL)
			*err = x->err;
		return x->err.status;
	}
	if (!hth_exec_planning(x)) {
		double start = hth_now_s();
		status = slot->run(x->cfg.device, args, cost.scratch_bytes > 0 ? x->arena + offset : NULL, err);
		x->seconds[op] += hth_now_s() - start;
	}
	if (cost.scratch_bytes > 0)
		hth_space_give(&x->space, offset, cost.scratch_bytes);
	x->totals.flops += cost.flops;
	x->totals.bytes_moved += cost.bytes_moved;
	x->totals.ops++;
	return status;
}

bool hth_exec_call(struct hth_exec *x, enum hth_op op, const void *args)
{
	struct hth_err err = {.status = HTH_OK};

	if (x->err.status != HTH_OK)
		return false;
	if (x->again && x->totals.ops > x->needed.last)
		return true;
	if (hth_exec_call_slot(x, op, args, &err) != HTH_OK && x->err.status == HTH_OK)
		x->err = err;
	return x->err.status == HTH_OK;
}
