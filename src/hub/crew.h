/* The threads that fetch, and what they share. fetch.c hands out work and checks it, transfer.c carries one part. */
#ifndef HTH_HUB_CREW_H
#define HTH_HUB_CREW_H

#include "base/log.h"
#include "hub/hub_int.h"
#include "hub/partial.h"

#include <pthread.h>

/* A blob's way: WAITING -(lock, open)-> READY -(the first answer says whether ranges work)-> OPEN -> DONE. */
enum hth_job_state {
	HTH_JOB_WAITING, /* not locked, not open */
	HTH_JOB_OPENING, /* one thread opens it */
	HTH_JOB_READY,   /* open; nobody has asked the server yet */
	HTH_JOB_PROBING, /* one thread asks; the others wait for its first bytes */
	HTH_JOB_OPEN,    /* any thread may take a part */
	HTH_JOB_DONE,    /* the blob is in its place, or the pull has failed */
};

struct hth_job {
	const char *path, *hash; /* of the listing */
	uint64_t bytes;
	enum hth_job_state state;
	struct hth_hub_partial partial;
	int lock_fd;
	bool *busy;         /* (n_parts) somebody fetches it; owned */
	struct hth_sha sha; /* of the first `hashed` bytes */
	uint64_t hashed;
	bool hashing;     /* one thread is at it */
	bool rewinding;   /* another one waits for it to stop: the content begins anew */
	bool finishing;   /* complete, and one thread checks it */
	uint64_t counted; /* bytes of an earlier pull, already in the bar */
	bool restarted;   /* its checksum was wrong once */
};

struct hth_crew {
	pthread_mutex_t lock; /* all below, and the state of the jobs */
	pthread_cond_t changed;
	const struct hth_hub_config *c;
	const struct hth_hub_cache *k;
	const char *repo, *commit;
	struct hth_job *jobs;
	size_t n_jobs;
	atomic_bool abort; /* something failed, or the user stopped */
	enum hth_status status;
	struct hth_err err; /* the first failure */
	uint64_t fetched_bytes, done_bytes, total_bytes;
	struct hth_progress bar;
	double speed, speed_at_s; /* bytes a second, smoothed */
	uint64_t speed_bytes;
};

/* Fetches what is missing of a part, with retries. Marks a job OPEN when its first answer shows that ranges work; a
 * server without them makes the job one part. */
HTH_MUST enum hth_status hth_crew_transfer(struct hth_crew *w, struct hth_hub_http *h, struct hth_job *job,
					   uint32_t part, struct hth_err *err);
/* Nothing is hashed yet. The caller holds the lock, or is alone. */
void hth_crew_start_hash(struct hth_job *job);
/* Counts bytes that arrived (or, negative, that are lost) and redraws; the caller holds the lock. */
void hth_crew_count(struct hth_crew *w, int64_t bytes, bool from_network);

#endif
