/* Between checkpoint.c and checkpoint_load.c. */
#ifndef HTH_TRAIN_CHECKPOINT_INT_H
#define HTH_TRAIN_CHECKPOINT_INT_H

#include "base/json.h"
#include "formats/safetensors.h"
#include "train/checkpoint.h"

#define HTH_CHECKPOINT_VERSION 1
#define HTH_CHECKPOINT_TEMP ".writing-"
#define HTH_CHECKPOINT_OLD ".old-"
#define HTH_STATE_MAX_BYTES ((size_t)1 << 20)

enum hth_checkpoint_part { HTH_PART_VALUES, HTH_PART_MOMENTS, HTH_PART_BEST, HTH_PART_COUNT };
extern const char *const hth_checkpoint_part_file[HTH_PART_COUNT];

/* The integers of struct hth_progress_state, by name. */
struct hth_state_field {
	const char *name;
	size_t offset;
	int64_t min;
};
extern const struct hth_state_field hth_state_fields[];
extern const size_t hth_state_n_fields;

HTH_MUST enum hth_status hth_checkpoint_tensors(const struct hth_params *p, enum hth_checkpoint_part part,
						struct hth_arena *arena, struct hth_st_tensor **out, size_t *n,
						struct hth_err *err);
/* XXH3 of what a manifest says, its own checksum left out. */
HTH_MUST enum hth_status hth_checkpoint_manifest_hash(const json_t *files, int64_t step, uint64_t *hash,
						      struct hth_err *err);
/* Removes all but the newest `keep` of steps up to `newest`, checkpoints of later steps (an abandoned timeline), and
 * what crashed writers left. */
HTH_MUST enum hth_status hth_checkpoint_prune(const char *dir, int64_t keep, int64_t newest, struct hth_err *err);

#endif
