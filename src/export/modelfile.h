/* An Ollama Modelfile for a GGUF file: where it is, how a chat becomes a prompt, what ends a turn. */
#ifndef HTH_EXPORT_MODELFILE_H
#define HTH_EXPORT_MODELFILE_H

#include "base/status.h"

/* Writes "Modelfile" beside the file at gguf_path. Ollama's templates are Go's, not Jinja: the texts around messages are
 * read off renderings of the model's own template, and what they add up to is compared with further renderings.
 * *templated false: no such texts explain the renderings; the file then says so and leaves TEMPLATE out. */
HTH_MUST enum hth_status hth_modelfile_write(const char *gguf_path, bool *templated, struct hth_err *err);

#endif
