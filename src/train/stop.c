/* Signals. A handler can only reach globals, so the flag is one: the exception to the rule that there are none. */
#include "train/stop.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t requested, interrupts;
static int installed;
static struct sigaction old_int, old_term;

static void on_signal(int signal_number)
{
	if (signal_number == SIGINT && interrupts++ > 0)
		_exit(130);
	requested = 1;
}

void hth_stop_install(void)
{
	struct sigaction a;

	if (installed++ > 0)
		return;
	requested = 0;
	interrupts = 0;
	memset(&a, 0, sizeof a);
	a.sa_handler = on_signal;
	a.sa_flags = SA_RESTART; /* a write of a checkpoint must not see EINTR */
	sigemptyset(&a.sa_mask);
	sigaction(SIGINT, &a, &old_int);
	sigaction(SIGTERM, &a, &old_term);
}

void hth_stop_restore(void)
{
	if (installed == 0 || --installed > 0)
		return;
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
}

bool hth_stop_requested(void)
{
	return requested != 0;
}

void hth_stop_request(void)
{
	requested = 1;
}
