/* Calls: binding arguments to the parameters a table row names, and everything that can be called. The functions
 * that templates know without being given them (range, namespace, raise_exception, ...) are here too. */
#include "text/jinja_int.h"

/* The i-th name of "a,b|c": *required says on which side of '|' it stands. False past the end. */
static bool param_at(const char *params, size_t i, const char **name, size_t *bytes, bool *required)
{
	*required = true;
	for (const char *p = params; *p != '\0';) {
		if (*p == '|') {
			*required = false;
			p++;
			continue;
		}
		size_t n = strcspn(p, ",|");
		if (i-- == 0) {
			*name = p;
			*bytes = n;
			return true;
		}
		p += n + (p[n] == ',');
	}
	return false;
}

static bool bind(struct hth_jx *x, const struct hth_jbuiltin *fn, const char *what, const struct hth_jargs *args,
		 struct hth_jval slots[HTH_JINJA_MAX_PARAMS])
{
	const char *name;
	size_t bytes, n = 0, used = 0;
	bool required;
	for (; param_at(fn->params, n, &name, &bytes, &required); n++) {
		slots[n] = n < args->n_pos ? args->pos[n] : (struct hth_jval){.kind = HTH_JV_MISSING};
		for (size_t k = 0; k < args->n_kw; k++) {
			if (args->kw[k].bytes != bytes || memcmp(args->kw[k].name, name, bytes) != 0)
				continue;
			if (slots[n].kind != HTH_JV_MISSING)
				return hth_jx_fail(x, HTH_ERR_FORMAT, "%s '%s': two values for argument '%.*s'", what,
						   fn->name, (int)bytes, name);
			slots[n] = args->kw[k].value;
			used++;
		}
		if (required && slots[n].kind == HTH_JV_MISSING)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "%s '%s': argument '%.*s' is missing", what, fn->name,
					   (int)bytes, name);
	}
	if (args->n_pos > n)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "%s '%s' takes %zu arguments, %zu were given", what, fn->name, n,
				   args->n_pos);
	if (used < args->n_kw)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "%s '%s': an unexpected keyword argument (it knows \"%s\")", what,
				   fn->name, fn->params);
	return true;
}

bool hth_jcall_builtin(struct hth_jx *x, const struct hth_jbuiltin *fn, const char *what, struct hth_jval self,
		       const struct hth_jargs *args, struct hth_jval *out)
{
	struct hth_jval slots[HTH_JINJA_MAX_PARAMS] = {{.kind = HTH_JV_MISSING}};
	if (fn->params[0] != '*' && !bind(x, fn, what, args, slots))
		return false;
	return fn->fn(x, self, slots, args, out);
}

static bool call_loop(struct hth_jx *x, struct hth_jloop *loop, const struct hth_jargs *args, struct hth_jval *out)
{
	struct hth_jsb b, *outer = x->out;
	if (!loop->node->loop->recursive)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "the loop must have the 'recursive' marker to be called");
	if (args->n_pos != 1 || args->n_kw != 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "loop() takes one argument");
	hth_jsb_init(&b, x);
	x->out = &b;
	bool ok = hth_jexec_loop(x, loop->node, args->pos[0], loop->depth0 + 1, loop->scope);
	x->out = outer;
	*out = hth_jv_str(ok ? hth_jsb_done(&b) : NULL);
	return out->s != NULL;
}

static bool call_joiner(struct hth_jx *x, struct hth_jcycler *j, struct hth_jval *out)
{
	bool used = j->used;
	j->used = true;
	*out = j->items.items[0];
	return used || hth_jv_text(x, "", out);
}

bool hth_jcall_value(struct hth_jx *x, struct hth_jval fn, const struct hth_jargs *args, struct hth_jval *out)
{
	switch (fn.kind) {
	case HTH_JV_FUNC:
		return hth_jcall_builtin(x, &fn.func->b, "function", hth_jv_none(), args, out);
	case HTH_JV_METHOD:
		return hth_jcall_builtin(x, fn.method->fn, "method", fn.method->self, args, out);
	case HTH_JV_MACRO:
		return hth_jexec_macro(x, fn.macro, args, out);
	case HTH_JV_LOOP:
		return call_loop(x, fn.loop, args, out);
	case HTH_JV_JOINER:
		return call_joiner(x, fn.cycler, out);
	case HTH_JV_BLOCK:
		return hth_jexec_capture(x, &fn.block->body, x->root, out);
	case HTH_JV_UNDEF:
		return hth_jv_fail_undef(x, fn);
	default:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "'%s' object is not callable", hth_jv_type(fn));
	}
}

/* The global functions. */

static bool fn_range(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		     struct hth_jval *out)
{
	int64_t a, b = 0, step = 1;
	(void)self;
	(void)all;
	if (!hth_jv_int_arg(x, arg[0], "range", &a) ||
	    (arg[1].kind != HTH_JV_MISSING && !hth_jv_int_arg(x, arg[1], "range", &b)) ||
	    (arg[2].kind != HTH_JV_MISSING && !hth_jv_int_arg(x, arg[2], "range", &step)))
		return false;
	int64_t start = arg[1].kind == HTH_JV_MISSING ? 0 : a, stop = arg[1].kind == HTH_JV_MISSING ? a : b;
	if (step == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "range() arg 3 must not be zero");
	uint64_t span = step > 0 ? (stop > start ? (uint64_t)stop - (uint64_t)start : 0)
				 : (start > stop ? (uint64_t)start - (uint64_t)stop : 0);
	uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step, n = span / by + (span % by != 0);
	if (n > HTH_JINJA_MAX_RANGE)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "a range of more than %d numbers", HTH_JINJA_MAX_RANGE);
	struct hth_jrange *r = hth_jx_alloc(x, sizeof *r);
	if (r == NULL)
		return false;
	*r = (struct hth_jrange){.start = start, .stop = stop, .step = step, .n = (int64_t)n};
	*out = (struct hth_jval){.kind = HTH_JV_RANGE, .r = r};
	return true;
}

/* dict(mapping or pairs, **more). */
static bool fill_dict(struct hth_jx *x, const struct hth_jargs *all, struct hth_jdict **out)
{
	struct hth_jdict *d = hth_jdict_new(x, 0);
	struct hth_jval *items, *pair;
	size_t n, two;
	if (d == NULL)
		return false;
	if (all->n_pos > 1)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "dict expected at most 1 argument, got %zu", all->n_pos);
	if (all->n_pos == 1 && (all->pos[0].kind == HTH_JV_DICT || all->pos[0].kind == HTH_JV_NS)) {
		const struct hth_jdict *from = all->pos[0].d;
		for (size_t i = 0; i < from->n; i++)
			if (!hth_jdict_set(x, d, from->items[i].key, from->items[i].value))
				return false;
	} else if (all->n_pos == 1) {
		if (!hth_jv_items(x, all->pos[0], &items, &n))
			return false;
		for (size_t i = 0; i < n; i++) {
			if (!hth_jv_items(x, items[i], &pair, &two))
				return false;
			if (two != 2)
				return hth_jx_fail(x, HTH_ERR_FORMAT, "dict: an element of %zu values; 2 are required",
						   two);
			if (!hth_jdict_set(x, d, pair[0], pair[1]))
				return false;
		}
	}
	for (size_t i = 0; i < all->n_kw; i++) {
		struct hth_jstr *name = hth_jstr_ref(x, all->kw[i].name, all->kw[i].bytes);
		if (name == NULL || !hth_jdict_set(x, d, hth_jv_str(name), all->kw[i].value))
			return false;
	}
	*out = d;
	return true;
}

static bool fn_dict(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		    struct hth_jval *out)
{
	(void)self;
	(void)arg;
	*out = (struct hth_jval){.kind = HTH_JV_DICT};
	return fill_dict(x, all, &out->d);
}

static bool fn_namespace(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg,
			 const struct hth_jargs *all, struct hth_jval *out)
{
	(void)self;
	(void)arg;
	*out = (struct hth_jval){.kind = HTH_JV_NS};
	if (!fill_dict(x, all, &out->d))
		return false;
	for (size_t i = 0; i < out->d->n; i++) {
		struct hth_jval k = out->d->items[i].key;
		if (k.kind == HTH_JV_STR && k.s->bytes > 0 && k.s->data[0] == '_')
			return hth_jx_fail(x, HTH_ERR_FORMAT, "a namespace cannot hold a name that begins with '_'");
	}
	return true;
}

static bool new_cycler(struct hth_jx *x, const struct hth_jargs *all, uint8_t kind, struct hth_jval *out)
{
	struct hth_jcycler *c = hth_jx_alloc(x, sizeof *c);
	if (c == NULL)
		return false;
	*c = (struct hth_jcycler){.items = {.items = all->pos, .n = all->n_pos, .cap = all->n_pos}};
	*out = (struct hth_jval){.kind = kind, .cycler = c};
	return true;
}

static bool fn_cycler(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		      struct hth_jval *out)
{
	(void)self;
	(void)arg;
	if (all->n_pos == 0 || all->n_kw > 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "cycler: at least one item has to be provided");
	return new_cycler(x, all, HTH_JV_CYCLER, out);
}

static bool fn_joiner(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		      struct hth_jval *out)
{
	struct hth_jval *sep = hth_jx_array(x, 1, sizeof *sep);
	struct hth_jargs one = {.pos = sep, .n_pos = 1};
	(void)self;
	(void)all;
	if (sep == NULL || (arg[0].kind == HTH_JV_MISSING && !hth_jv_text(x, ", ", sep)))
		return false;
	if (arg[0].kind != HTH_JV_MISSING)
		*sep = arg[0];
	return new_cycler(x, &one, HTH_JV_JOINER, out);
}

static bool fn_raise(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		     struct hth_jval *out)
{
	struct hth_jstr *s;
	(void)self;
	(void)all;
	(void)out;
	if (!hth_jv_str_of(x, arg[0], &s) || !hth_jstr_flat(x, s))
		return false;
	if (x->status == HTH_OK) /* exactly the template's words: no place in front */
		x->status = hth_fail(x->err, HTH_ERR_VALUE, "%.*s", (int)(s->bytes < 4096 ? s->bytes : 4096), s->data);
	return false;
}

static bool fn_strftime(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
			struct hth_jval *out)
{
	struct hth_jsb b;
	(void)self;
	(void)all;
	if (arg[0].kind != HTH_JV_STR)
		return hth_jx_fail(x, HTH_ERR_FORMAT,
				   "strftime_now: expected a format string, found a value of type '%s'",
				   hth_jv_type(arg[0]));
	hth_jsb_init(&b, x);
	*out = hth_jv_str(hth_jtime_format(&b, arg[0].s, x->now) ? hth_jsb_done(&b) : NULL);
	return out->s != NULL;
}

static const struct hth_jfunc globals[] = {
	{{"range", "start|stop,step", fn_range}},  {{"dict", "*", fn_dict}},
	{{"namespace", "*", fn_namespace}},        {{"cycler", "*", fn_cycler}},
	{{"joiner", "|sep", fn_joiner}},           {{"raise_exception", "message", fn_raise}},
	{{"strftime_now", "format", fn_strftime}},
};

const struct hth_jfunc *hth_jinja_global(const char *name, size_t bytes)
{
	for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
		if (strlen(globals[i].b.name) == bytes && memcmp(globals[i].b.name, name, bytes) == 0)
			return &globals[i];
	return NULL;
}

const struct hth_jbuiltin *hth_jinja_in_table(const struct hth_jbuiltin *table, size_t n, const char *name,
					      size_t bytes)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(table[i].name) == bytes && memcmp(table[i].name, name, bytes) == 0)
			return &table[i];
	return NULL;
}
