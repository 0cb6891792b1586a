/* What layers that recur remember of one sequence, in the host's memory: for each layer and part a few marks, each the
 * part's numbers after some count of tokens. Such a layer cannot forget its last tokens again, as attention does by
 * looking at fewer rows; a mark is what it can go back to. Going on from one mark writes another, so that a pass that
 * failed half-way can be run again. */
#ifndef HTH_BACKEND_RECURRENT_H
#define HTH_BACKEND_RECURRENT_H

#include "base/status.h"

#include <stdint.h>

/* Two take turns while tokens come one by one; the others stay at the ends of longer segments. */
enum { HTH_RECURRENT_MARKS = 4 };

enum hth_recurrent_part { HTH_RECURRENT_CONV, HTH_RECURRENT_DELTA, HTH_RECURRENT_PARTS };

struct hth_recurrent_shape {
	int32_t n_layers;
	int64_t elems[HTH_RECURRENT_PARTS]; /* (W-1)*N rows of the convolution's input, oldest first; Vh*Dk*Dv */
};

struct hth_recurrent;

uint64_t hth_recurrent_bytes(const struct hth_recurrent_shape *s); /* UINT64_MAX: out of range */
HTH_MUST enum hth_status hth_recurrent_new(const struct hth_recurrent_shape *s, struct hth_recurrent **out,
                                           struct hth_err *err);
void hth_recurrent_free(struct hth_recurrent *r); /* NULL is fine */
/* Goes on from `past` tokens by len: *from is what is remembered of them (NULL: past is 0, all zero), *to is where the
 * caller writes what is remembered after; marks beyond past are forgotten. elems: what the caller takes the part to
 * have. HTH_ERR_USAGE when no mark stands at past. */
HTH_MUST enum hth_status hth_recurrent_move(struct hth_recurrent *r, int32_t layer, enum hth_recurrent_part part,
                                            int64_t elems, int64_t past, int64_t len, const float **from, float **to,
                                            struct hth_err *err);
/* The largest count of tokens up to n at which every layer and part has a mark; 0 always has. r NULL: n. */
int64_t hth_recurrent_reach(const struct hth_recurrent *r, int64_t n);

#endif
