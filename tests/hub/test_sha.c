/* SHA-1 and SHA-256 against the examples of FIPS 180-4 (csrc.nist.gov) and against git's own names of blobs. */
#include "support.h"

#include "hub/sha.h"

static void hex_of(enum hth_sha_kind kind, const char *data, size_t bytes, size_t step, char out[HTH_SHA_HEX_BYTES])
{
	struct hth_sha s;

	hth_sha_init(&s, kind);
	for (size_t at = 0; at < bytes; at += step)
		hth_sha_add(&s, data + at, bytes - at < step ? bytes - at : step);
	hth_sha_hex(&s, out);
}

static void sha256_of_known_messages(void **state)
{
	char hex[HTH_SHA_HEX_BYTES];
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

	(void)state;
	hex_of(HTH_SHA_256, "", 0, 1, hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	hex_of(HTH_SHA_256, "abc", 3, 3, hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	hex_of(HTH_SHA_256, two, strlen(two), 7, hex);
	assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void sha1_of_known_messages(void **state)
{
	char hex[HTH_SHA_HEX_BYTES];
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

	(void)state;
	hex_of(HTH_SHA_1, "", 0, 1, hex);
	assert_string_equal(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	hex_of(HTH_SHA_1, "abc", 3, 1, hex);
	assert_string_equal(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
	hex_of(HTH_SHA_1, two, strlen(two), 56, hex);
	assert_string_equal(hex, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

static void a_million_letters_in_uneven_steps(void **state)
{
	char hex[HTH_SHA_HEX_BYTES];
	char *a = malloc(1000000);

	(void)state;
	memset(a, 'a', 1000000);
	hex_of(HTH_SHA_256, a, 1000000, 997, hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	hex_of(HTH_SHA_1, a, 1000000, 131, hex);
	assert_string_equal(hex, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
	free(a);
}

/* Messages of 55, 56, 63, 64 and 65 letters "a": the padding's edges; from sha256sum. */
static void padding_at_its_edges(void **state)
{
	static const struct {
		size_t bytes;
		const char *hex;
	} cases[] = {
		{55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
		{56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
		{63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
		{64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
		{65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
	};
	char a[65], hex[HTH_SHA_HEX_BYTES];

	(void)state;
	memset(a, 'a', sizeof a);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t step = 1; step <= 65; step += 16) {
			hex_of(HTH_SHA_256, a, cases[i].bytes, step, hex);
			assert_string_equal(hex, cases[i].hex);
		}
}

static void a_blob_is_named_as_git_names_it(void **state)
{
	struct hth_sha s;
	char hex[HTH_SHA_HEX_BYTES];

	(void)state;
	hth_sha_init_git_blob(&s, 6);
	hth_sha_add(&s, "hello\n", 6);
	assert_string_equal(hth_sha_hex(&s, hex), "ce013625030ba8dba906f756967f9e9ca394464a");
	hth_sha_init_git_blob(&s, 0);
	assert_string_equal(hth_sha_hex(&s, hex), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_of_known_messages),
		cmocka_unit_test(sha1_of_known_messages),
		cmocka_unit_test(a_million_letters_in_uneven_steps),
		cmocka_unit_test(padding_at_its_edges),
		cmocka_unit_test(a_blob_is_named_as_git_names_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
