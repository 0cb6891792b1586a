/* JSON on stdout: see json_out.h. */
#include "cmd/json_out.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

void hth_json_out_quoted(const char *value)
{
	struct hth_buf out;
	size_t bytes = strlen(value);
	hth_buf_init(&out, 6 * bytes + 3);
	if (hth_json_put_string(&out, value, bytes))
		fputs(hth_buf_str(&out), stdout);
	else
		fputs("null", stdout); /* no memory for a line of text: the key still stands */
	hth_buf_clear(&out);
}

void hth_json_out_text(const char *key, const char *value)
{
	printf("\"%s\":", key);
	if (value != NULL)
		hth_json_out_quoted(value);
	else
		fputs("null", stdout);
	putchar(',');
}
