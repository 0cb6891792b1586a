/* Unicode as the tokenizers saw it when the models were trained: classes for patterns, and NFC. All tables are our
 * own (tools/unicode.py), never the system's, so that ids do not depend on the machine. */
#ifndef HTH_TEXT_UNICODE_H
#define HTH_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of code points as inclusive ranges. Build with add; after hth_uset_tidy they are sorted, apart and minimal,
 * which the other functions need. A failed allocation sets `failed` and leaves the set usable. */
struct hth_uset {
	uint32_t (*ranges)[2]; /* (n) owned */
	size_t n, cap;
	bool failed;
};

void hth_uset_clear(struct hth_uset *s); /* safe on zeroed */
void hth_uset_add(struct hth_uset *s, uint32_t first, uint32_t last);
void hth_uset_add_set(struct hth_uset *s, const struct hth_uset *other);
/* A general category or its group ("Lu", "L"), a script ("Han"), "Space", "Word", "Alphabetic", "Any", or the two
 * classes of pre-tokenizers, "tok_numeric" and "tok_punctuation". False when the name is unknown. */
bool hth_uset_add_class(struct hth_uset *s, const char *name, size_t bytes);
void hth_uset_tidy(struct hth_uset *s);
void hth_uset_invert(struct hth_uset *s);                                  /* of 0..10FFFF */
void hth_uset_intersect(struct hth_uset *s, const struct hth_uset *other); /* s becomes s and other */
bool hth_uset_has(const struct hth_uset *s, uint32_t code_point);

bool hth_unicode_is_space(uint32_t code_point);
bool hth_unicode_is_word(uint32_t code_point); /* letters, marks, decimal digits, connectors, joiners */

/* NFC by clusters: a cluster is a code point and what follows it that could combine with it or be reordered; no
 * composition crosses its ends. Returns the bytes of the first cluster of text[0..bytes) (valid UTF-8, bytes >= 1)
 * and says whether NFC may change it; unchanging clusters are gathered into one. */
size_t hth_nfc_cluster(const char *text, size_t bytes, bool *may_change);

/* NFC of in[0..n). out has room for HTH_NFC_ROOM * n elements; returns how many hold the answer. */
#define HTH_NFC_ROOM 8
size_t hth_nfc_compose(const uint32_t *in, size_t n, uint32_t *out);

/* NFD of in[0..n), which begins with a starter or at the text's beginning; room and answer as above. */
size_t hth_nfd_decompose(const uint32_t *in, size_t n, uint32_t *out);
bool hth_nfd_is_mark(uint32_t code_point); /* it belongs to the starter before it */

/* What the tokenizers library's normalizers make of one code point by itself. HTH_FORM_COMPAT: the compatibility
 * decomposition where it is not the canonical one, so that NFKC is this and then NFC. */
enum hth_form { HTH_FORM_COMPAT, HTH_FORM_LOWER, HTH_FORM_NMT, HTH_FORM_UNACCENTED };
/* *out (n) code points stand for c, borrowed, n may be 0; SIZE_MAX: it stays. */
size_t hth_form_of(enum hth_form form, uint32_t c, const uint32_t **out);

#endif
