/* What the makers of the malformed corpus share. Each maker writes named files below one folder; `table.txt` says what
 * hearth must answer to each, and tests/e2e/corpus.sh holds it to that. */
#ifndef HTH_TESTS_CORPUS_H
#define HTH_TESTS_CORPUS_H

#include "base/file.h"
#include "base/mem.h"
#include "support.h"

#include "../formats/bytes.h"

#include <math.h>

/* FOLDER/name, in one of eight rotating buffers; the folders above it are made. */
const char *corpus_path(const char *name);
void corpus_put(const char *name, const void *data, size_t bytes);
void corpus_text(const char *name, const char *text);
/* name/: the files of a model's folder, one of them with its first `from` replaced by `to`; file NULL: none. */
void corpus_folder(const char *name, const char *source, const char *file, const char *from, const char *to);

void corpus_gguf(void);     /* gguf/: containers, RELIABILITY G1..G20 */
void corpus_models(void);   /* model/, hf/: sound containers with hostile values; split models */
void corpus_tensors(void);  /* st/, adapter/, imatrix/ */
void corpus_texts(void);    /* tokenizer/, template/, hub/ */

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#endif
