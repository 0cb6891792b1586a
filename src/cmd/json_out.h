/* JSON on stdout, for --json results made of a few fields. */
#ifndef HTH_CMD_JSON_OUT_H
#define HTH_CMD_JSON_OUT_H

/* Prints `"key":"value",` with both quoted and escaped; value NULL prints null. */
void hth_json_out_text(const char *key, const char *value);
/* Prints value alone, quoted and escaped. */
void hth_json_out_quoted(const char *value);

#endif
