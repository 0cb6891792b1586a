/* The generated tables behind unicode.h. */
#ifndef HTH_TEXT_UNICODE_INT_H
#define HTH_TEXT_UNICODE_INT_H

#include <stddef.h>
#include <stdint.h>

struct hth_unicode_class {
	const char *name;
	size_t n;
	const uint32_t (*ranges)[2];
};

extern const char hth_unicode_categories[][3];
extern const size_t hth_unicode_n_categories;
extern const uint32_t hth_unicode_runs[]; /* first << 8 | category */
extern const size_t hth_unicode_n_runs;
extern const struct hth_unicode_class hth_unicode_classes[];
extern const size_t hth_unicode_n_classes;

extern const uint64_t hth_nfc_decomp[]; /* code point << 16 | at << 2 | length - 1 */
extern const size_t hth_nfc_n_decomp;
extern const uint32_t hth_nfc_pool[];
extern const uint64_t hth_nfc_pairs[]; /* first << 42 | second << 21 | composed */
extern const size_t hth_nfc_n_pairs;
extern const uint32_t hth_nfc_ccc[]; /* code point << 8 | class */
extern const size_t hth_nfc_n_ccc;
extern const uint32_t hth_nfc_joiners[];
extern const size_t hth_nfc_n_joiners;

extern const uint64_t hth_form_compat[], hth_form_lower[], hth_form_nmt[]; /* code point << 32 | at << 8 | length */
extern const size_t hth_form_n_compat, hth_form_n_lower, hth_form_n_nmt;
extern const uint32_t hth_form_pool[];
extern const uint32_t hth_form_marks[][2]; /* first, last */
extern const size_t hth_form_n_marks;

extern const uint32_t hth_grapheme_runs[]; /* first << 8 | class */
extern const size_t hth_grapheme_n_runs;

#endif
