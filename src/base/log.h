/* Messages for a person on stderr, and a progress bar. Results never go through here: they go to stdout. */
#ifndef HTH_BASE_LOG_H
#define HTH_BASE_LOG_H

#include "base/status.h"

#include <stdint.h>

enum hth_log_level { HTH_LOG_QUIET, HTH_LOG_ERROR, HTH_LOG_WARN, HTH_LOG_INFO, HTH_LOG_DEBUG };

void hth_log_set_level(enum hth_log_level level);
enum hth_log_level hth_log_level(void);
void hth_error(const char *fmt, ...) HTH_PRINTF(1, 2); /* "error: ..." */
void hth_warn(const char *fmt, ...) HTH_PRINTF(1, 2);  /* "warning: ..." */
void hth_info(const char *fmt, ...) HTH_PRINTF(1, 2);
void hth_debug(const char *fmt, ...) HTH_PRINTF(1, 2);

/* True when stdout / stderr is a terminal; colours only then, and never with NO_COLOR set. */
bool hth_stdout_is_tty(void);
bool hth_stderr_is_tty(void);
bool hth_use_colour(bool is_tty);

/* One line on stderr that is redrawn at most ten times a second on a terminal:
 *   train  [=========>      ]  62%  step 124/200  loss 1.234  ...  ETA 3m12s
 * On no terminal nothing is drawn. A log message in between clears and redraws the bar. */
struct hth_progress {
	char label[32];
	uint64_t total, done;
	double start_s, drawn_s;
	uint64_t start_done; /* done at start: a resumed run's ETA counts only new work */
	bool active;
	char note[160];
};
void hth_progress_start(struct hth_progress *p, const char *label, uint64_t total, uint64_t done);
void hth_progress_update(struct hth_progress *p, uint64_t done, const char *note_fmt, ...) HTH_PRINTF(3, 4);
void hth_progress_end(struct hth_progress *p);
double hth_progress_eta_s(const struct hth_progress *p); /* < 0 when unknown */

/* "1.2 GB", "3m12s", "12,345" into out (decimal units, as the guide uses); return out. */
const char *hth_format_bytes(char out[32], uint64_t bytes);
const char *hth_format_duration(char out[32], double seconds);
const char *hth_format_count(char out[32], uint64_t n);

#endif
