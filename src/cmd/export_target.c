/* What an export writes: see export_target.h. The rules, in order: an MLX type or form is a folder; FILE.gguf and a type
 * of blocks are a GGUF file; a GGUF file stays one and a folder a folder, unless the command says another form. */
#include "cmd/export_target.h"

#include "base/file.h"
#include "base/num.h"
#include "export/to_folder.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* "mlx4" -> 4; 0: no such type. */
static int mlx_bits(const char *type)
{
	static const char digits[] = "234568";

	return strncasecmp(type, "mlx", 3) == 0 && strlen(type) == 4 && strchr(digits, type[3]) != NULL ? type[3] - '0'
													 : 0;
}

enum hth_status hth_export_check_type(const char *type, struct hth_err *err)
{
	static const char *const mlx[] = {"mlx8", "mlx6", "mlx5", "mlx4", "mlx3", "mlx2"};
	const char *known[64];
	size_t n = 0;

	if (type == NULL || mlx_bits(type) != 0 || hth_mix_find(type) != NULL)
		return HTH_OK;
	for (const struct hth_mix *m; n < 48 && (m = hth_mix_at((int)n)) != NULL; n++)
		known[n] = m->name;
	for (size_t i = 0; i < sizeof(mlx) / sizeof(*mlx); i++)
		known[n++] = mlx[i];
	const char *near = hth_nearest(type, known, n);
	return hth_fail(err, HTH_ERR_USAGE, "--type %s: no such type%s%s", type,
			near != NULL ? "; did you mean " : "; hearth quantize --help lists them",
			near != NULL ? near : "");
}

bool hth_export_may_be_folder(const struct hth_export_options *opt, enum hth_export_form form)
{
	return form == HTH_EXPORT_HF || form == HTH_EXPORT_MLX || (opt->type != NULL && mlx_bits(opt->type) != 0);
}

static bool is_plain(const struct hth_mix *m)
{
	return m == NULL || m->quant == HTH_QUANT_F32 || m->quant == HTH_QUANT_F16 || m->quant == HTH_QUANT_BF16;
}

static enum hth_status choose_folder(const struct hth_export_options *opt, const char *verb, const struct hth_model *m,
				     struct hth_export_target *out, struct hth_err *err)
{
	if (!is_plain(out->mix))
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth %s: %s is a type of GGUF files, a folder holds f32, f16, bf16 or mlx types; "
				"give --output FILE.gguf",
				verb, out->mix->name);
	if (hth_path_has_suffix(opt->output, ".gguf"))
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth %s: \"%s\" is the name of a file, %s makes a folder; name one, or another --type",
				verb, opt->output, out->bits != 0 ? opt->type : "--to");
	if (out->bits != 0 && opt->group != 32 && opt->group != 64 && opt->group != 128)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: --group-size %lld, expected 32, 64 or 128", verb,
				(long long)opt->group);
	out->group = out->bits != 0 ? (int)opt->group : 0;
	out->type = out->mix != NULL ? out->mix->quant : hth_plain_type(m);
	/* Scales of 16 bits are what the layout is for. */
	if (out->bits != 0 && out->type == HTH_QUANT_F32)
		out->type = HTH_QUANT_F16;
	out->name = out->bits != 0 ? opt->type : hth_quant_format(out->type)->name;
	out->mix = NULL;
	return HTH_OK;
}

enum hth_status hth_export_choose(const struct hth_export_options *opt, enum hth_export_form form, const char *verb,
				  const struct hth_model *m, struct hth_export_target *out, struct hth_err *err)
{
	bool gguf_name = hth_path_has_suffix(opt->output, ".gguf"), from_folder = m != NULL && m->gguf == NULL;

	*out = (struct hth_export_target){0};
	out->bits = opt->type != NULL ? mlx_bits(opt->type) : 0;
	out->mix = opt->type != NULL ? hth_mix_find(opt->type) : NULL;
	out->as_stored = opt->type == NULL;
	out->mlx = out->bits != 0 || form == HTH_EXPORT_MLX;
	out->folder = hth_export_may_be_folder(opt, form) ||
		      (form == HTH_EXPORT_AUTO && from_folder && !gguf_name && is_plain(out->mix));
	if (out->bits != 0 && form == HTH_EXPORT_GGUF)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: %s is a type of MLX folders, not of GGUF", verb,
				opt->type);
	if (out->folder)
		return choose_folder(opt, verb, m, out, err);
	if (out->mix == NULL)
		out->mix = hth_mix_find(m != NULL ? hth_quant_format(hth_plain_type(m))->name : "f16");
	out->name = out->mix->name;
	return HTH_OK;
}
