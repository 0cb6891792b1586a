/* The folder writer's frame: a folder beside the target, weights and texts into it, a look at the result, the rename. */
#include "export/to_folder_int.h"

#include "base/file.h"
#include "base/mem.h"
#include "models/source.h"
#include "text/tokenizer_convert.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct places {
	char *target, *temp, *old; /* owned */
};

enum hth_quant hth_plain_type(const struct hth_model *m)
{
	enum hth_quant q = m->layers[0].linear[HTH_Q].quant;

	return q == HTH_QUANT_F32 || q == HTH_QUANT_BF16 ? q : HTH_QUANT_F16;
}

/* Replacing a folder removes what is in it: only files that a model's folder has. */
static bool is_model_file(const char *name)
{
	static const char *const ends[] = {".safetensors", ".json", ".jinja", ".model", ".txt", ".md"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (hth_path_has_suffix(name, ends[i]))
			return true;
	return strcmp(name, "LICENSE") == 0 || strcmp(name, ".gitattributes") == 0;
}

static enum hth_status check_target(bool overwrite, const char *path, struct hth_err *err)
{
	char **names = NULL;
	size_t n = 0;
	bool model = false;
	enum hth_path_kind kind = hth_path_kind(path);

	if (kind == HTH_PATH_NONE)
		return HTH_OK;
	if (!overwrite)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", path);
	if (kind != HTH_PATH_DIR)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: is a file, expected a folder or nothing", path);
	enum hth_status st = hth_dir_list(path, &names, &n, err);
	for (size_t i = 0; i < n && st == HTH_OK; i++) {
		model = model || strcmp(names[i], "config.json") == 0;
		if (!is_model_file(names[i]))
			st = hth_fail(err, HTH_ERR_EXISTS,
				      "%s: holds \"%.128s\", which belongs to no model and would be lost; choose "
				      "another folder",
				      path, names[i]);
	}
	if (st == HTH_OK && n > 0 && !model)
		st = hth_fail(err, HTH_ERR_EXISTS, "%s: is not a model's folder; choose another", path);
	hth_names_free(names, n);
	return st;
}

static enum hth_status name_places(struct places *p, const char *path, struct hth_err *err)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	p->target = hth_strndup(path, n);
	p->temp = hth_alloc(n + 64);
	p->old = hth_alloc(n + 64);
	if (p->target == NULL || p->temp == NULL || p->old == NULL)
		return hth_fail_memory(err, "a path", n);
	const char *base = hth_path_base(p->target);
	if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return hth_fail(err, HTH_ERR_USAGE, "\"%s\": cannot be replaced by a model; name a folder in it", path);
	int dir = (int)(base - p->target);
	snprintf(p->temp, n + 64, "%.*s.%s.hearth-%ld.tmp", dir, p->target, base, (long)getpid());
	snprintf(p->old, n + 64, "%.*s.%s.hearth-%ld.old", dir, p->target, base, (long)getpid());
	return HTH_OK;
}

static enum hth_status swap_in(const struct places *p, struct hth_err *err)
{
	bool had_old = hth_path_kind(p->target) == HTH_PATH_DIR;
	enum hth_status st = hth_fsync_dir(p->temp, err);

	if (st == HTH_OK && had_old)
		st = hth_remove_tree(p->old, err);
	if (st == HTH_OK && had_old)
		st = hth_rename_dir(p->target, p->old, err);
	if (st == HTH_OK)
		st = hth_rename_dir(p->temp, p->target, err);
	/* A rename may have happened although its sync failed, so look at what is there. */
	if (st != HTH_OK && had_old && hth_path_kind(p->target) == HTH_PATH_NONE)
		(void)!hth_rename_dir(p->old, p->target, NULL);
	return st == HTH_OK && had_old ? hth_remove_tree(p->old, err) : st;
}

static enum hth_status check_tokenizer(const struct hth_model *m, const struct hth_tokenizer *back, struct hth_err *err)
{
	bool same = true;
	char *text = NULL;
	enum hth_status st = hth_tokenizers_agree(m->tokenizer, back, m->config.n_vocab, &same, &text, err);

	if (st == HTH_OK && !same)
		st = hth_fail(err, HTH_ERR_UNAVAILABLE,
			      "%s: its tokenizer cannot be said in a tokenizer.json: \"%.60s\" would become other ids",
			      m->path, text);
	hth_free(text);
	return st;
}

static enum hth_status check_template(const struct hth_model *m, const struct hth_model *back, struct hth_err *err)
{
	const char *a = m->template_source, *b = back->template_source;

	if ((a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0))
		return HTH_OK;
	return hth_fail(err, HTH_ERR_VALUE, "%s: the chat template did not survive", back->path);
}

/* Opens what was written as any program would, and compares. */
static enum hth_status look_at(const struct hth_to_folder_config *cfg, const char *dir, struct hth_err *err)
{
	struct hth_model *back = NULL, meant = *cfg->model;

	meant.config.tied = meant.config.tied && !hth_folder_unties(cfg);
	enum hth_status st = hth_model_open_to_write(dir, &back, err);
	if (st == HTH_OK)
		st = hth_configs_agree(&meant, back, err);
	if (st == HTH_OK)
		st = check_tokenizer(&meant, back->tokenizer, err);
	if (st == HTH_OK)
		st = check_template(&meant, back, err);
	hth_model_close(back);
	return st;
}

enum hth_status hth_to_folder(const struct hth_to_folder_config *cfg, struct hth_to_folder_result *out,
			      struct hth_err *err)
{
	struct places p = {0};
	bool made = false;
	enum hth_status st = name_places(&p, cfg->out_path, err);

	*out = (struct hth_to_folder_result){0};
	if (st != HTH_OK || (st = check_target(cfg->overwrite, p.target, err)) != HTH_OK ||
	    (st = hth_remove_tree(p.temp, err)) != HTH_OK || (st = hth_mkdirs(p.temp, err)) != HTH_OK)
		goto done;
	made = true;
	if ((st = hth_folder_texts(cfg, p.temp, err)) != HTH_OK ||
	    (st = hth_folder_weights(cfg, p.temp, out, err)) != HTH_OK ||
	    (st = look_at(cfg, p.temp, err)) != HTH_OK)
		goto done;
	st = swap_in(&p, err);
done:
	if (made && st != HTH_OK)
		(void)!hth_remove_tree(p.temp, NULL);
	hth_free(p.target);
	hth_free(p.temp);
	hth_free(p.old);
	return st;
}

enum hth_status hth_to_folder_move(const char *from, const char *to, bool overwrite, struct hth_err *err)
{
	struct places p = {0};
	enum hth_status st = name_places(&p, to, err);

	if (st == HTH_OK)
		st = check_target(overwrite, p.target, err);
	hth_free(p.temp);
	p.temp = hth_strdup(from);
	if (st == HTH_OK && p.temp == NULL)
		st = hth_fail_memory(err, "a path", strlen(from));
	if (st == HTH_OK)
		st = swap_in(&p, err);
	hth_free(p.target);
	hth_free(p.temp);
	hth_free(p.old);
	return st;
}
