/* Makes the malformed corpus: one small file (or folder) for each way a model file, adapter, tokenizer, template,
 * importance matrix or hub listing is known to break readers. What hearth must say to each is in table.txt.
 *
 * usage: make_corpus FOLDER     run in the project's root: some files are changed copies of golden models */
#include "corpus.h"

static const char *root;

const char *corpus_path(const char *name)
{
	static char paths[8][1024];
	static int next;
	char *out = paths[next++ % 8];
	struct hth_err err;

	snprintf(out, sizeof paths[0], "%s/%s", root, name);
	char *slash = strrchr(out, '/');
	*slash = '\0';
	assert_ok(hth_mkdirs(out, &err));
	*slash = '/';
	return out;
}

void corpus_put(const char *name, const void *data, size_t bytes)
{
	write_plain(corpus_path(name), data, bytes);
}

void corpus_text(const char *name, const char *text)
{
	corpus_put(name, text, strlen(text));
}

static void put_changed(const char *name, const char *data, size_t bytes, const char *from, const char *to)
{
	const char *at = strstr(data, from);
	size_t before = (size_t)(at - data), after = before + strlen(from), n = bytes - strlen(from) + strlen(to);

	if (at == NULL)
		fail_msg("%s: no \"%s\" to change", name, from);
	char *out = hth_alloc(n + 1);
	assert_non_null(out);
	memcpy(out, data, before);
	memcpy(out + before, to, strlen(to));
	memcpy(out + before + strlen(to), data + after, bytes - after);
	corpus_put(name, out, n);
	hth_free(out);
}

void corpus_folder(const char *name, const char *source, const char *file, const char *from, const char *to)
{
	struct hth_err err;
	char **names, *data, path[512];
	size_t n, bytes;

	assert_ok(hth_dir_list(source, &names, &n, &err));
	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%s", source, names[i]);
		assert_ok(hth_file_read(path, 1 << 20, &data, &bytes, &err));
		snprintf(path, sizeof path, "%s/%s", name, names[i]);
		if (file != NULL && strcmp(file, names[i]) == 0)
			put_changed(path, data, bytes, from, to);
		else
			corpus_put(path, data, bytes);
		hth_free(data);
	}
	hth_names_free(names, n);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	root = argv[1];
	corpus_gguf();
	corpus_models();
	corpus_tensors();
	corpus_texts();
	return 0;
}
