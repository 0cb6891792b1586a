/* Facts of a run as text, and the comparison that a resume makes. Reals are written with 17 digits: equal text is equal
 * bits. */
#include "base/log.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>

void hth_facts_text(struct hth_facts *f, bool must, const char *name, const char *value)
{
	if (f->n == HTH_MAX_FACTS)
		return;
	struct hth_fact *x = &f->item[f->n++];
	x->must = must;
	snprintf(x->name, sizeof x->name, "%s", name);
	hth_quote(x->value, sizeof x->value, value, strlen(value));
}

void hth_facts_int(struct hth_facts *f, bool must, const char *name, int64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "%lld", (long long)value);
	hth_facts_text(f, must, name, text);
}

void hth_facts_real(struct hth_facts *f, bool must, const char *name, double value)
{
	char text[40];

	snprintf(text, sizeof text, "%.17g", value);
	hth_facts_text(f, must, name, text);
}

void hth_facts_hash(struct hth_facts *f, bool must, const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
	hth_facts_text(f, must, name, text);
}

static const struct hth_fact *find(const struct hth_facts *f, const char *name)
{
	for (int i = 0; i < f->n; i++)
		if (strcmp(f->item[i].name, name) == 0)
			return &f->item[i];
	return NULL;
}

enum hth_status hth_checkpoint_agrees(const struct hth_checkpoint *c, const struct hth_facts *now, struct hth_err *err)
{
	for (int i = 0; i < now->n; i++) {
		const struct hth_fact *mine = &now->item[i], *theirs = find(&c->facts, mine->name);
		const char *was = theirs != NULL ? theirs->value : "(not recorded)";
		if (strcmp(was, mine->value) == 0)
			continue;
		if (mine->must)
			return hth_fail(err, HTH_ERR_USAGE,
					"%s: cannot resume: %s was %s, is now %s; give the run's own settings, or "
					"start anew from its "
					"adapter (--resume-adapter-file)",
					c->path, mine->name, was, mine->value);
		hth_warn("resuming with another %s: was %s, is now %s; the run will not be the uninterrupted one bit "
			 "for bit",
			 mine->name, was, mine->value);
	}
	return HTH_OK;
}
