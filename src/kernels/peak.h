/* What this machine can do at most, measured: multiply-adds of each instruction set from registers, bytes read from
 * memory, the thread pool's round trip. `hearth bench` prints results as fractions of these; they are kept in a small
 * file of the user's cache folder, so that a plan can tell how long a run will take without measuring. */
#ifndef HTH_KERNELS_PEAK_H
#define HTH_KERNELS_PEAK_H

#include "base/pool.h"

enum { HTH_PEAK_MAX = 12 };

struct hth_peak {
	char name[24];   /* numbers and instruction set: "f32 avx512", "int8 vnni", "bf16 amx" */
	double one, all; /* operations a second (a multiply-add is two) of one thread and of all */
};

struct hth_peaks {
	char cpu[128], kernels[16]; /* as hth_machine_info names it; highest kernel set in force */
	int threads;
	int n_compute;
	struct hth_peak compute[HTH_PEAK_MAX]; /* instruction sets that are present, weakest first */
	double read_one, read_all;             /* bytes a second out of memory */
	double round_trip_s;      /* hth_pool_run of one task for each thread, all of them at work: median */
	double spread;            /* the noisiest of the above: its median repetition against its best, less 1 */
	double train_flops_per_s; /* what a training step reached here; 0: not known. Put in by hearth bench */
};

/* Takes a second or two and, for that time, 256 MB or several times the last-level cache (at most 1 GB). pool NULL: one
 * thread. HTH_ERR_MEMORY where that is not there. */
HTH_MUST enum hth_status hth_peaks_measure(struct hth_pool *pool, struct hth_peaks *out, struct hth_err *err);
/* By name; NULL: not here. */
const struct hth_peak *hth_peaks_find(const struct hth_peaks *p, const char *name);
/* What f32 products under p->kernels can reach. NULL only where nothing was measured. */
const struct hth_peak *hth_peaks_f32(const struct hth_peaks *p);

/* $XDG_CACHE_HOME/hearth/machine.json (~/.cache without the variable) holds the peaks of machines by processor, kernel
 * set and thread count. Load: false when there are none of this machine (threads 0: all usable), whatever the reason.
 */
bool hth_peaks_load(int threads, struct hth_peaks *out);
HTH_MUST enum hth_status hth_peaks_save(const struct hth_peaks *p, struct hth_err *err);

#endif
