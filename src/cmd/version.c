/* hearth --version: the version, the compiler, the libraries it runs with, the backends in this build. */
#include "cmd/version.h"

#include "backend/backend.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

void hth_version_print(void)
{
	char pcre[64] = "";
	pcre2_config(PCRE2_CONFIG_VERSION, pcre);
	printf("hearth %s\n", HTH_VERSION);
#if defined(__clang__)
	printf("compiler   clang %d.%d.%d\n", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
	printf("compiler   gcc %d.%d.%d\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
	printf("libraries  jansson %s, PCRE2 %s, libcurl %s\n", jansson_version_str(), pcre,
	       curl_version_info(CURLVERSION_NOW)->version);
	printf("backends  ");
	const struct hth_backend *b;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		printf(" %s", b->name);
	printf("\n");
}
