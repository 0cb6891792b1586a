/* Malformed GGUF containers, byte by byte. The class of each is its name's first part, as in RELIABILITY.md 1a; names
 * with "ok" are the last value that is still sound. */
#include "corpus.h"

#define MAX63 INT64_MAX

static void head(struct bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
	b->n = 0;
	put_raw(b, "GGUF", 4);
	put_u32(b, version);
	put_u64(b, n_tensors);
	put_u64(b, n_kv);
}

/* Files of a header and little more. */
static void headers(void)
{
	static const struct {
		const char *name, *magic;
		uint32_t version;
		uint64_t n_tensors, n_kv;
		size_t bytes; /* how many of the 24 are written */
	} h[] = {
		{"gguf/G1-keys-wrap.gguf", "GGUF", 3, 0, UINT64_MAX / 64 + 2, 24},
		{"gguf/G1-keys-2e63.gguf", "GGUF", 3, 0, 1ull << 63, 24},
		{"gguf/G2-tensors-wrap.gguf", "GGUF", 3, UINT64_MAX / 96 + 2, 0, 24},
		{"gguf/G2-tensors-minus-1.gguf", "GGUF", 3, UINT64_MAX, 0, 24},
		{"gguf/G17-empty.gguf", "GGUF", 3, 0, 0, 0},
		{"gguf/G17-magic-cut.gguf", "GGUF", 3, 0, 0, 3},
		{"gguf/G17-magic-only.gguf", "GGUF", 3, 0, 0, 4},
		{"gguf/G17-version-cut.gguf", "GGUF", 3, 0, 0, 7},
		{"gguf/G17-counts-cut.gguf", "GGUF", 3, 0, 0, 23},
		{"gguf/G17-magic-wrong.gguf", "GGML", 3, 0, 0, 24},
		{"gguf/G17-magic-swapped.gguf", "FUGG", 3, 0, 0, 24},
		{"gguf/G17-version-0.gguf", "GGUF", 0, 0, 0, 24},
		{"gguf/G17-version-1.gguf", "GGUF", 1, 0, 0, 24},
		{"gguf/G17-version-4.gguf", "GGUF", 4, 0, 0, 24},
		{"gguf/G17-version-swapped.gguf", "GGUF", 3u << 24, 0, 0, 24},
		{"gguf/G17-ok-nothing-in-it.gguf", "GGUF", 3, 0, 0, 24},
		{"gguf/G19-one-key-in-no-bytes.gguf", "GGUF", 3, 0, 1, 24},
		{"gguf/G19-gigabytes-of-tensors.gguf", "GGUF", 3, 1 << 30, 0, 24},
	};
	struct bytes b;

	for (size_t i = 0; i < COUNT_OF(h); i++) {
		head(&b, h[i].version, h[i].n_tensors, h[i].n_kv);
		memcpy(b.data, h[i].magic, 4);
		corpus_put(h[i].name, b.data, h[i].bytes);
	}
}

/* One key. */
static void keys(void)
{
	enum { STRING = 8, ARRAY = 9 };
	static const struct {
		const char *name, *key;
		uint64_t key_bytes; /* as the file says */
		uint32_t type, elem;
		uint64_t n;         /* length of a string or array */
		const char *raw;
		size_t raw_bytes;
	} k[] = {
		{"gguf/G3-string-minus-1.gguf", "k", 1, STRING, 0, UINT64_MAX, "abcdefgh", 8},
		{"gguf/G3-string-past-end.gguf", "k", 1, STRING, 0, 9, "abcdefgh", 8},
		{"gguf/G3-ok-string-to-the-end.gguf", "k", 1, STRING, 0, 8, "abcdefgh", 8},
		{"gguf/G3-string-2-gib.gguf", "k", 1, STRING, 0, 0x80000000u, "abcdefgh", 8},
		{"gguf/G3-string-negative-as-int.gguf", "k", 1, STRING, 0, 0xFFFFFFFFu, "abcdefgh", 8},
		{"gguf/G3-key-minus-1.gguf", "k", UINT64_MAX, 4, 0, 0, "\1\0\0\0", 4},
		{"gguf/G3-key-past-end.gguf", "k", 1000, 4, 0, 0, "\1\0\0\0", 4},
		{"gguf/G4-array-wraps.gguf", "k", 1, ARRAY, 10, (1ull << 61) + 1, "abcdefgh", 8},
		{"gguf/G4-array-2e63.gguf", "k", 1, ARRAY, 0, 1ull << 63, "abcdefgh", 8},
		{"gguf/G4-array-2e32.gguf", "k", 1, ARRAY, 4, 1ull << 32, "abcdefgh", 8},
		{"gguf/G4-array-one-too-many.gguf", "k", 1, ARRAY, 4, 3, "abcdefgh", 8},
		{"gguf/G4-ok-array-to-the-end.gguf", "k", 1, ARRAY, 4, 2, "abcdefgh", 8},
		{"gguf/G4-strings-beyond-file.gguf", "k", 1, ARRAY, STRING, 2, "\0\0\0\0\0\0\0\0", 8},
		{"gguf/G4-string-of-array-past-end.gguf", "k", 1, ARRAY, STRING, 1, "\1\0\0\0\0\0\0\0", 8},
		{"gguf/G13-alignment-0.gguf", "general.alignment", 17, 4, 0, 0, "\0\0\0\0", 4},
		{"gguf/G13-alignment-3.gguf", "general.alignment", 17, 4, 0, 0, "\3\0\0\0", 4},
		{"gguf/G13-alignment-2e31.gguf", "general.alignment", 17, 4, 0, 0, "\0\0\0\x80", 4},
		{"gguf/G13-alignment-i32.gguf", "general.alignment", 17, 5, 0, 0, "\x20\0\0\0", 4},
		{"gguf/G13-ok-alignment-64.gguf", "general.alignment", 17, 4, 0, 0, "\x40\0\0\0", 4},
		{"gguf/G15-key-empty.gguf", "", 0, 4, 0, 0, "\1\0\0\0", 4},
		{"gguf/G15-key-with-nul.gguf", "a\0b", 3, 4, 0, 0, "\1\0\0\0", 4},
		{"gguf/G15-key-no-utf-8.gguf", "a\xFF" "b", 3, 4, 0, 0, "\1\0\0\0", 4},
		{"gguf/G15-key-type-13.gguf", "k", 1, 13, 0, 0, "\1\0\0\0", 4},
		{"gguf/G15-key-type-minus-1.gguf", "k", 1, UINT32_MAX, 0, 0, "\1\0\0\0", 4},
		{"gguf/G15-bool-2.gguf", "k", 1, 7, 0, 0, "\2", 1},
		{"gguf/G16-array-of-arrays.gguf", "k", 1, ARRAY, ARRAY, 1, "\4\0\0\0\0\0\0\0\0\0\0\0", 12},
		{"gguf/G16-array-of-type-13.gguf", "k", 1, ARRAY, 13, 1, "\1\0\0\0", 4},
		{"gguf/G17-value-cut.gguf", "k", 1, 10, 0, 0, "\1\0\0\0\0\0\0", 7},
	};
	struct bytes b;

	for (size_t i = 0; i < COUNT_OF(k); i++) {
		bool lies = k[i].key_bytes > 64;
		head(&b, 3, 0, 1);
		put_u64(&b, k[i].key_bytes);
		put_raw(&b, k[i].key, lies ? strlen(k[i].key) : (size_t)k[i].key_bytes);
		put_u32(&b, k[i].type);
		if (k[i].type == ARRAY)
			put_u32(&b, k[i].elem);
		if (k[i].type == ARRAY || k[i].type == STRING)
			put_u64(&b, k[i].n);
		put_raw(&b, k[i].raw, k[i].raw_bytes);
		corpus_put(k[i].name, b.data, b.n);
	}
	head(&b, 3, 0, 2);
	for (int i = 0; i < 2; i++) {
		put_str(&b, "twice");
		put_u32(&b, 4);
		put_u32(&b, 1);
	}
	corpus_put("gguf/G15-key-twice.gguf", b.data, b.n);
}

struct tensor {
	const char *name;
	uint32_t n_dims;
	uint64_t ne[4];
	uint32_t type;
	uint64_t offset;
};

static void put_tensor(struct bytes *b, const struct tensor *t)
{
	put_str(b, t->name);
	put_u32(b, t->n_dims);
	for (uint32_t d = 0; d < t->n_dims && d < 8; d++)
		put_u64(b, d < 4 ? t->ne[d] : 1);
	put_u32(b, t->type);
	put_u64(b, t->offset);
}

static void tensors_of(const char *name, const struct tensor *t, size_t n, size_t data_bytes)
{
	struct bytes b;

	head(&b, 3, n, 0);
	for (size_t i = 0; i < n; i++)
		put_tensor(&b, &t[i]);
	pad_to(&b, 32);
	put_zeros(&b, data_bytes);
	corpus_put(name, b.data, b.n);
}

/* One tensor. F32 is type 0, Q4_0 2, Q8_0 8. */
static void one_tensor(void)
{
	static const char name63[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	static const char name64[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	static const struct {
		const char *name;
		struct tensor t;
		size_t data;
	} c[] = {
		{"gguf/G5-dims-0.gguf", {"t", 0, {0}, 0, 0}, 32},
		{"gguf/G5-dims-5.gguf", {"t", 5, {1, 1, 1, 1}, 0, 0}, 32},
		{"gguf/G5-dims-2e32.gguf", {"t", UINT32_MAX, {1, 1, 1, 1}, 0, 0}, 32},
		{"gguf/G6-dim-0.gguf", {"t", 2, {32, 0}, 0, 0}, 32},
		{"gguf/G6-dim-0-first.gguf", {"t", 2, {0, 32}, 8, 0}, 32},
		{"gguf/G6-dim-negative.gguf", {"t", 2, {32, 1ull << 63}, 0, 0}, 32},
		{"gguf/G7-product-wraps.gguf", {"t", 4, {1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, 0, 0}, 32},
		{"gguf/G7-product-wraps-to-1.gguf", {"t", 2, {0xFFFFFFFFFFFFFFFFull / 3, 3}, 0, 0}, 32},
		{"gguf/G7-bytes-wrap.gguf", {"t", 1, {1ull << 62}, 0, 0}, 32},
		{"gguf/G7-bytes-of-blocks-wrap.gguf", {"t", 1, {(MAX63 / 32) * 32ull}, 8, 0}, 32},
		{"gguf/G10-padding-wraps.gguf", {"t", 1, {UINT64_MAX / 4}, 0, 0}, 32},
		{"gguf/G10-padding-wraps-as-blocks.gguf", {"t", 1, {UINT64_MAX / 34 * 32}, 8, 0}, 32},
		{"gguf/G11-offset-past-end.gguf", {"t", 1, {8}, 0, 64}, 32},
		{"gguf/G11-offset-wraps-back.gguf", {"t", 1, {8}, 0, UINT64_MAX - 31}, 32},
		{"gguf/G11-size-past-end.gguf", {"t", 1, {9}, 0, 0}, 32},
		{"gguf/G11-ok-size-to-the-end.gguf", {"t", 1, {8}, 0, 0}, 32},
		{"gguf/G11-no-data-at-all.gguf", {"t", 1, {8}, 0, 0}, 0},
		{"gguf/G12-size-4-gib.gguf", {"t", 1, {(1ull << 30) + 8}, 0, 0}, 32},
		{"gguf/G14-type-4000.gguf", {"t", 1, {32}, 4000, 0}, 32},
		{"gguf/G14-type-negative.gguf", {"t", 1, {32}, UINT32_MAX, 0}, 32},
		{"gguf/G14-type-removed.gguf", {"t", 1, {32}, 4, 0}, 32},
		{"gguf/G14-type-removed-31.gguf", {"t", 1, {32}, 31, 0}, 32},
		{"gguf/G14-type-unread.gguf", {"t", 1, {256}, 16, 0}, 66},
		{"gguf/G14-half-a-block.gguf", {"t", 1, {33}, 8, 0}, 68},
		{"gguf/G15-name-empty.gguf", {"", 1, {8}, 0, 0}, 32},
		{"gguf/G15-name-64.gguf", {name64, 1, {8}, 0, 0}, 32},
		{"gguf/G15-ok-name-63.gguf", {name63, 1, {8}, 0, 0}, 32},
		{"gguf/G15-name-no-utf-8.gguf", {"\xC3(", 1, {8}, 0, 0}, 32},
		{"gguf/G20-offset-unaligned.gguf", {"t", 1, {4}, 0, 4}, 32},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++)
		tensors_of(c[i].name, &c[i].t, 1, c[i].data);
}

static void two_tensors(void)
{
	static const struct {
		const char *name;
		struct tensor t[2];
		size_t data;
	} c[] = {
		{"gguf/G8-sum-wraps.gguf", {{"a", 1, {1ull << 61}, 0, 0}, {"b", 1, {1ull << 61}, 0, 1ull << 63}}, 64},
		{"gguf/G9-overhead-wraps.gguf",
		 {{"a", 1, {8}, 0, 0}, {"b", 1, {MAX63 / 4 - 64}, 0, 32}}, 64},
		{"gguf/G15-name-twice.gguf", {{"a", 1, {8}, 0, 0}, {"a", 1, {8}, 0, 32}}, 64},
		{"gguf/G20-same-data.gguf", {{"a", 1, {8}, 0, 0}, {"b", 1, {8}, 0, 0}}, 64},
		{"gguf/G20-overlap.gguf", {{"a", 1, {16}, 0, 0}, {"b", 1, {8}, 0, 32}}, 64},
		{"gguf/G20-ok-unsorted-with-a-gap.gguf", {{"a", 1, {8}, 0, 64}, {"b", 1, {8}, 0, 0}}, 96},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++)
		tensors_of(c[i].name, c[i].t, 2, c[i].data);
}

/* The first key and tensor are sound, the second is not: what was made for the first must be given back once. */
static void after_a_sound_start(void)
{
	static const struct tensor bad = {"second", 9, {1}, 0, 0}, good = {"first", 1, {8}, 0, 0};
	struct bytes b;

	head(&b, 3, 2, 1);
	put_str(&b, "general.name");
	put_u32(&b, 8);
	put_str(&b, "x");
	put_tensor(&b, &good);
	size_t cut = b.n + 8 + 6 + 2; /* in the number of the second's dimensions */
	put_tensor(&b, &bad);
	pad_to(&b, 32);
	put_zeros(&b, 64);
	corpus_put("gguf/G18-second-tensor-wrong.gguf", b.data, b.n);
	corpus_put("gguf/G18-second-tensor-cut.gguf", b.data, cut);
}

void corpus_gguf(void)
{
	headers();
	keys();
	one_tensor();
	two_tensors();
	after_a_sound_start();
}
