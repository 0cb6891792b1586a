/* SHA-256 and SHA-1 of FIPS 180-4, streaming. The hub names large files by the first and small ones by git's blob
 * hash, which is the second; that is all they are used for here (SHA-1 is no protection against a forger). */
#ifndef HTH_HUB_SHA_H
#define HTH_HUB_SHA_H

#include <stddef.h>
#include <stdint.h>

#define HTH_SHA256_BYTES 32
#define HTH_SHA1_BYTES 20
#define HTH_SHA_HEX_BYTES 65 /* the longer of the two in hexadecimal, and a NUL */

enum hth_sha_kind { HTH_SHA_1, HTH_SHA_256 };

struct hth_sha {
	enum hth_sha_kind kind;
	uint32_t h[8];     /* five of them for SHA-1 */
	uint64_t bytes;    /* taken so far */
	uint8_t block[64]; /* the first bytes % 64 are waiting */
};

void hth_sha_init(struct hth_sha *s, enum hth_sha_kind kind);
void hth_sha_add(struct hth_sha *s, const void *data, size_t bytes);
/* Lower-case hexadecimal; s is used up. Returns out. */
const char *hth_sha_hex(struct hth_sha *s, char out[HTH_SHA_HEX_BYTES]);
/* Starts git's hash of a blob of this many bytes: SHA-1 over "blob N\0" and the content. */
void hth_sha_init_git_blob(struct hth_sha *s, uint64_t bytes);

#endif
