/* Examples as text for people: what the model reads, and which of it is trained on. */
#ifndef HTH_DATA_SHOW_H
#define HTH_DATA_SHOW_H

#include "data/dataset.h"

enum hth_show_style {
	HTH_SHOW_BRACKETS, /* trained runs stand between U+27E6 and U+27E7 */
	HTH_SHOW_COLOUR,   /* trained runs green, the rest dim (ANSI) */
};

/* Appends the example's text. Special tokens are shown as their vocabulary writes them. Control characters other than
 * newline and tab are shown as \xNN, so that a data set cannot steer a terminal. */
HTH_MUST enum hth_status hth_data_show(const struct hth_tokenizer *tok, const struct hth_data_example *e,
				       enum hth_show_style style, struct hth_buf *out, struct hth_err *err);
/* Appends one JSON object: {"line":..,"turn":..,"tokens":[{"id":..,"text":"..","target":true},..]}. text is what the
 * token makes certain: bytes of a character split over tokens come with its last one. */
HTH_MUST enum hth_status hth_data_show_json(const struct hth_tokenizer *tok, const struct hth_data_example *e,
					    struct hth_buf *out, struct hth_err *err);

#endif
