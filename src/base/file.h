/* Files: read-only maps, bounded reads, atomic replacement, and folders.
 *
 * Atomic replacement is the only way hearth writes results: write to a temporary file in the same folder,
 * fsync it, rename it over the target, fsync the folder. A reader sees the old file or the new one, never
 * half of one; an error or a crash leaves the old one as it was. */
#ifndef HTH_BASE_FILE_H
#define HTH_BASE_FILE_H

#include "base/status.h"

#include <stdint.h>
#include <stdio.h>

/* A regular file mapped read-only. FIFOs, devices and folders are refused before any read. */
struct hth_map {
	const uint8_t *data; /* borrowed until hth_map_close; NULL for an empty file */
	size_t bytes;
	char *path;          /* as given; owned */
};

HTH_MUST enum hth_status hth_map_open(struct hth_map *m, const char *path, struct hth_err *err);
void hth_map_close(struct hth_map *m); /* safe on a zeroed struct, and twice */

/* Reads a whole regular file of at most max_bytes; *data is NUL-terminated, caller frees with hth_free. */
HTH_MUST enum hth_status hth_file_read(const char *path, size_t max_bytes, char **data, size_t *bytes,
                                       struct hth_err *err);

/* Opens a regular file for reading without ever blocking; *bytes (may be NULL) is its size now. Caller closes *fd. */
HTH_MUST enum hth_status hth_file_open_regular(const char *path, int *fd, size_t *bytes, struct hth_err *err);

/* An atomic writer. Between open and commit the target is untouched. */
struct hth_writer {
	FILE *out;       /* buffered; write through hth_writer_write or stdio, errors are found at commit */
	char *buffer;    /* of out; owned */
	char *path;      /* target; owned */
	char *temp_path; /* owned */
	uint64_t bytes;  /* written through hth_writer_write */
};

HTH_MUST enum hth_status hth_writer_open(struct hth_writer *w, const char *path, struct hth_err *err);
HTH_MUST enum hth_status hth_writer_write(struct hth_writer *w, const void *data, size_t bytes, struct hth_err *err);
/* Zero bytes up to the next multiple of align (a power of two) of w->bytes. */
HTH_MUST enum hth_status hth_writer_pad(struct hth_writer *w, size_t align, struct hth_err *err);
/* Flush, fsync, close, rename, fsync of the folder. On failure the temporary file is removed; once the rename is done
 * only HTH_ERR_IO can come, of that last fsync. */
HTH_MUST enum hth_status hth_writer_commit(struct hth_writer *w, struct hth_err *err);
void hth_writer_abort(struct hth_writer *w); /* removes the temporary file; safe after commit and on zeroed */

/* Whole file in one call, atomically. */
HTH_MUST enum hth_status hth_file_write(const char *path, const void *data, size_t bytes, struct hth_err *err);

enum hth_path_kind { HTH_PATH_NONE, HTH_PATH_FILE, HTH_PATH_DIR, HTH_PATH_OTHER };
enum hth_path_kind hth_path_kind(const char *path);
/* "a" + "b" -> "a/b"; caller frees; NULL when memory runs out. */
char *hth_path_join(const char *dir, const char *name);
const char *hth_path_base(const char *path);                         /* borrowed: after the last '/' */
bool hth_path_has_suffix(const char *path, const char *suffix);      /* case-insensitive: ".gguf" */
HTH_MUST enum hth_status hth_mkdirs(const char *path, struct hth_err *err); /* mkdir -p; existing is fine */
HTH_MUST enum hth_status hth_rename_dir(const char *from, const char *to, struct hth_err *err); /* + fsync parent */
HTH_MUST enum hth_status hth_remove_tree(const char *path, struct hth_err *err); /* a missing path is fine */
HTH_MUST enum hth_status hth_fsync_dir(const char *path, struct hth_err *err);
/* Names in a folder without . and .., sorted by bytes. names[i] and names are freed by hth_names_free. */
HTH_MUST enum hth_status hth_dir_list(const char *path, char ***names, size_t *n, struct hth_err *err);
void hth_names_free(char **names, size_t n);
/* Bytes free to this user on the file system that holds path (or its nearest existing parent). */
HTH_MUST enum hth_status hth_disk_free(const char *path, uint64_t *bytes, struct hth_err *err);

#endif
