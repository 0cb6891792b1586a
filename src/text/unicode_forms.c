/* Single code points as the tokenizers library's normalizers map them, over the tables of unicode_forms_data.c. */
#include "text/unicode.h"
#include "text/unicode_int.h"

static size_t find(const uint64_t *table, size_t n, uint32_t c, const uint32_t **out)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint32_t k = (uint32_t)(table[mid] >> 32);
		if (k == c) {
			*out = hth_form_pool + (table[mid] >> 8 & 0xFFFFFF);
			return table[mid] & 0xFF;
		}
		if (k < c)
			low = mid + 1;
		else
			high = mid;
	}
	return SIZE_MAX;
}

static bool is_accent(uint32_t c)
{
	size_t low = 0, high = hth_form_n_marks;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (c >= hth_form_marks[mid][0] && c <= hth_form_marks[mid][1])
			return true;
		if (c < hth_form_marks[mid][0])
			high = mid;
		else
			low = mid + 1;
	}
	return false;
}

size_t hth_form_of(enum hth_form form, uint32_t c, const uint32_t **out)
{
	*out = NULL;
	switch (form) {
	case HTH_FORM_COMPAT:
		return c < 0xA0 ? SIZE_MAX : find(hth_form_compat, hth_form_n_compat, c, out);
	case HTH_FORM_LOWER:
		return find(hth_form_lower, hth_form_n_lower, c, out);
	case HTH_FORM_NMT:
		return find(hth_form_nmt, hth_form_n_nmt, c, out);
	case HTH_FORM_UNACCENTED:
		break;
	}
	return is_accent(c) ? 0 : SIZE_MAX;
}
